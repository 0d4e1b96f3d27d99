from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segnet.errors import ConfigError
from segnet.training.losses import LOSSES, Divisor, check_loss, make_loss

NAMES = list(LOSSES)
SUM = "cross_entropy+0.5*lovasz+2*dice"
DIVISORS: tuple[Divisor, ...] = ("pixels", "weights")
CLASSES = 4

Case = tuple[Tensor, Tensor, Tensor]
Place = tuple[int, int, int]


def case(seed: int, size: tuple[int, int] = (5, 6)) -> Case:
    """float64 logits of four classes, of which the mask lacks the last, a mask with void, and weights."""
    torch.manual_seed(seed)
    mask = torch.randint(0, CLASSES - 1, (2, *size))
    mask[torch.rand(mask.shape) < 0.25] = 255
    return 2 * torch.randn(2, CLASSES, *size, dtype=torch.float64), mask, 0.2 + 5 * torch.rand(CLASSES).double()


# --- the same losses, slowly


def probabilities(logits: Tensor, mask: Tensor) -> dict[Place, list[float]]:
    """Softmax of each counted pixel."""
    found = {}
    for n, y, x in product(*map(range, mask.shape)):
        if mask[n, y, x] != 255:
            powers = [math.exp(value) for value in logits[n, :, y, x].tolist()]
            found[n, y, x] = [power / sum(powers) for power in powers]
    return found


def mean(losses: dict[Place, float], mask: Tensor, weights: Tensor, divisor: str, factors: dict[Place, float]) -> float:
    """Weighted mean of the losses of pixels."""
    total = amount = 0.0
    for place, loss in losses.items():
        weight = float(weights[mask[place]])
        total += weight * factors[place] * loss
        amount += 1 if divisor == "pixels" else weight * factors[place]
    return total / amount


def slow_cross_entropy(logits: Tensor, mask: Tensor, weights: Tensor, divisor: str) -> float:
    losses = {place: -math.log(p[mask[place]]) for place, p in probabilities(logits, mask).items()}
    return mean(losses, mask, weights, divisor, dict.fromkeys(losses, 1.0))


def slow_focal(logits: Tensor, mask: Tensor, weights: Tensor, divisor: str) -> float:
    truths = {place: p[mask[place]] for place, p in probabilities(logits, mask).items()}
    losses = {place: -((1 - p) ** 2) * math.log(p) for place, p in truths.items()}
    return mean(losses, mask, weights, divisor, dict.fromkeys(losses, 1.0))


def slow_dice(logits: Tensor, mask: Tensor, weights: Tensor, divisor: str) -> float:
    losses = []
    for c in range(CLASSES):
        overlap = pixels = mass = 0.0
        for place, p in probabilities(logits, mask).items():
            overlap += p[c] if mask[place] == c else 0.0
            pixels += float(mask[place] == c)
            mass += p[c]
        if pixels:
            losses.append(1 - 2 * overlap / (mass + pixels))
    return sum(losses) / len(losses)


def slow_lovasz(logits: Tensor, mask: Tensor, weights: Tensor, divisor: str) -> float:
    """From the definition: the Jaccard loss as a function of the set of wrong pixels (Berman et al., equation 8)."""
    found = probabilities(logits, mask)
    losses = []
    for c in range(CLASSES):
        truth = {place for place in found if mask[place] == c}
        errors = {place: 1 - p[c] if place in truth else p[c] for place, p in found.items()}
        wrong: set[Place] = set()
        before = loss = 0.0
        for place in sorted(errors, key=errors.__getitem__, reverse=True):
            wrong.add(place)
            jaccard = len(wrong) / len(truth | wrong)
            loss += errors[place] * (jaccard - before)
            before = jaccard
        if truth:
            losses.append(loss)
    return sum(losses) / len(losses)


def slow_ohem(logits: Tensor, mask: Tensor, weights: Tensor, divisor: str) -> float:
    truths = {place: p[mask[place]] for place, p in probabilities(logits, mask).items()}
    ranked = sorted(truths, key=truths.__getitem__)
    kept = max(math.ceil(len(ranked) / 4), sum(p < 0.7 for p in truths.values()))
    losses = {place: -math.log(truths[place]) for place in ranked[:kept]}
    return mean(losses, mask, weights, divisor, dict.fromkeys(losses, 1.0))


def touching(mask: Tensor) -> set[Place]:
    """Pixels beside another class."""
    found = set()
    for n, y, x in product(*map(range, mask.shape)):
        around = mask[n, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        if mask[n, y, x] != 255 and bool(((around != 255) & (around != mask[n, y, x])).any()):
            found.add((n, y, x))
    return found


def slow_boundary(logits: Tensor, mask: Tensor, weights: Tensor, divisor: str) -> float:
    losses = {place: -math.log(p[mask[place]]) for place, p in probabilities(logits, mask).items()}
    boundary, factors = touching(mask), {}
    for n, y, x in losses:
        steps = [(y - v, x - u) for m, v, u in boundary if m == n and max(abs(y - v), abs(x - u)) <= 15]
        factors[n, y, x] = 1 + 10 * max((math.exp(-(a * a + b * b) / 50) for a, b in steps), default=0.0)
    return mean(losses, mask, weights, divisor, factors)


SLOW = {
    "cross_entropy": slow_cross_entropy,
    "focal": slow_focal,
    "dice": slow_dice,
    "lovasz": slow_lovasz,
    "ohem": slow_ohem,
    "boundary": slow_boundary,
}


# --- what they are


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("name", NAMES)
def test_loss_is_the_slow_loop(name: str, divisor: Divisor, seed: int) -> None:
    logits, mask, weights = case(seed)
    found = make_loss(name, weights, divisor=divisor)(logits, mask)
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(SLOW[name](logits, mask, weights, divisor), rel=1e-6)
    in_float32 = make_loss(name, weights.float(), divisor=divisor)(logits.float(), mask)
    assert in_float32.dtype == torch.float32
    assert in_float32.item() == pytest.approx(found.item(), rel=1e-5)


@pytest.mark.parametrize("bias", [0.0, 6.0])
def test_ohem_keeps_the_unsure_and_at_least_a_quarter(bias: float) -> None:
    logits, mask, weights = case(0)
    logits = logits + bias * F.one_hot(mask.where(mask != 255, 0), CLASSES).movedim(-1, 1)
    unsure = sum(p[mask[place]] < 0.7 for place, p in probabilities(logits, mask).items())
    assert (unsure > (mask != 255).sum() / 4) == (bias == 0), "each case is to test the other rule"
    found = make_loss("ohem", weights)(logits, mask)
    assert found.item() == pytest.approx(slow_ohem(logits, mask, weights, "pixels"), rel=1e-6)


@pytest.mark.parametrize("divisor", DIVISORS)
def test_boundary_fades_with_the_distance_and_ends(divisor: Divisor) -> None:
    logits, weights = torch.randn(2, CLASSES, 24, 40, dtype=torch.float64), case(0)[2]
    mask = torch.zeros(2, 24, 40, dtype=torch.int64)
    mask[0, 20:, 33:] = 1
    mask[0, 3:6, 30:] = 255
    found = make_loss("boundary", weights, divisor=divisor)(logits, mask)
    assert found.item() == pytest.approx(slow_boundary(logits, mask, weights, divisor), rel=1e-6)


def test_ignored_pixels_between_classes_are_no_boundary() -> None:
    logits, mask = torch.randn(1, 2, 6, 7), torch.zeros(1, 6, 7, dtype=torch.int64)
    mask[:, :, 4:] = 1
    mask[:, :, 3:5] = 255
    found = make_loss("boundary", torch.ones(2))(logits, mask)
    torch.testing.assert_close(found, F.cross_entropy(logits, mask, ignore_index=255))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_over_pixels_is_bit_for_bit_the_published_one(smoothing: float) -> None:
    logits, mask, weights = (tensor.float() if tensor.is_floating_point() else tensor for tensor in case(1))
    total = F.cross_entropy(logits, mask, weight=weights, ignore_index=255, reduction="sum", label_smoothing=smoothing)
    found = make_loss("cross_entropy", weights, label_smoothing=smoothing)(logits, mask)
    assert torch.equal(found, total / (mask != 255).sum().clamp(min=1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_over_weights_is_torchs(smoothing: float) -> None:
    logits, mask, weights = case(1)
    found = make_loss("cross_entropy", weights, divisor="weights", label_smoothing=smoothing)(logits, mask)
    expected = F.cross_entropy(logits, mask, weight=weights, ignore_index=255, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)


def test_sums_of_weights_below_1_divide_too() -> None:
    logits, mask = torch.randn(1, 2, 2, 2), torch.full((1, 2, 2), 255)
    mask[0, 0, 0] = 1
    found = make_loss("cross_entropy", torch.tensor([1.0, 0.1]), divisor="weights")(logits, mask)
    torch.testing.assert_close(found, F.cross_entropy(logits, mask, ignore_index=255))


def test_lovasz_gradients_in_float32_are_those_of_float64() -> None:
    logits, mask = torch.randn(1, 3, 200, 200), torch.zeros(1, 200, 200, dtype=torch.int64)
    mask[:, 100:], mask[:, :5, :5] = 1, 2  # a rare class: its steps are tiny
    loss, exact = make_loss("lovasz", torch.ones(3)), logits.double().requires_grad_()
    (expected,) = torch.autograd.grad(loss(exact, mask), exact)
    (found,) = torch.autograd.grad(loss(logits.requires_grad_(), mask), logits)
    assert ((found - expected) / expected).abs().median() < 1e-5  # by differences in float32: 7e-4


def test_lovasz_sorts_16_bits_and_stays_within_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, mask = 4 * torch.randn(1, 5, 120, 160), torch.randint(0, 5, (1, 120, 160))
    mask[:, :20] = 255
    logits.requires_grad_()
    loss = make_loss("lovasz", torch.ones(5))
    found = loss(logits, mask)
    (gradient,) = torch.autograd.grad(found, logits)
    monkeypatch.setattr("segnet.training.losses._descending", lambda values: values.argsort(dim=1, descending=True))
    expected = loss(logits, mask)
    (exact,) = torch.autograd.grad(expected, logits)
    assert abs(found - expected) < 2e-5
    assert torch.linalg.vector_norm(gradient - exact) < 1e-3 * torch.linalg.vector_norm(exact)


def test_sum_is_the_sum() -> None:
    logits, mask, weights = case(2)
    parts = [make_loss(name, weights)(logits, mask) for name in ("cross_entropy", "lovasz", "dice")]
    found = make_loss(SUM, weights)(logits, mask)
    torch.testing.assert_close(found, parts[0] + 0.5 * parts[1] + 2 * parts[2])
    assert torch.equal(make_loss(" cross_entropy + 0.5 * lovasz+2*dice", weights)(logits, mask), found)


# --- what they do


@pytest.mark.parametrize("name", [*NAMES, SUM])
def test_prior_correction_is_an_offset_of_the_logits(name: str) -> None:
    logits, mask, weights = case(6)
    weights[3] = 0  # a class that does not occur has no logarithm, and no offset
    offsets = torch.tensor([0.5 * math.log(w) if w else 0.0 for w in weights.tolist()]).double()
    found = make_loss(name, weights, prior_correction=0.5)(logits, mask)
    torch.testing.assert_close(found, make_loss(name, weights)(logits + offsets[:, None, None], mask))


def test_with_full_prior_correction_classes_are_predicted_by_their_own_frequency() -> None:
    mask = torch.tensor([[[0] * 6 + [1] * 3 + [2]]])
    logits = torch.tensor([0.6, 0.3, 0.1]).log()[None, :, None, None].expand(1, 3, 1, 10).clone().requires_grad_()
    weights = torch.tensor([0.5, 1.0, 3.0])
    make_loss("cross_entropy", weights, prior_correction=1)(logits, mask).backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.sum((0, 2, 3)), torch.zeros(3))  # these logits are the best constant ones


@pytest.mark.parametrize("name", [*NAMES, SUM])
def test_gradients_are_those_of_small_differences(name: str) -> None:
    logits, mask, weights = case(3, (3, 4))
    loss = make_loss(name, weights, divisor="weights", label_smoothing=0.1)
    assert torch.autograd.gradcheck(lambda given: loss(given, mask), logits.requires_grad_())


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("name", [*NAMES, SUM])
def test_ignored_pixels_only_give_zero_with_zero_gradients(name: str, divisor: Divisor) -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    loss = make_loss(name, torch.ones(3), divisor=divisor, label_smoothing=0.1)(logits, torch.full((2, 4, 5), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_classes_without_weight_alone_stay_finite(name: str) -> None:
    loss = make_loss(name, torch.tensor([0.0, 1.0]), divisor="weights")
    assert loss(torch.randn(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64)).isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_have_finite_gradients(name: str, dtype: torch.dtype) -> None:
    _, mask, weights = case(4)
    logits = (1e4 * torch.randn(2, CLASSES, 5, 6).sign()).to(dtype).requires_grad_()
    loss = make_loss(name, weights.float(), label_smoothing=0.1)(logits, mask)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits, mask, weights = case(5)
    loss, half = make_loss(name, weights.float()), logits.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(half, mask)
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(half.float(), mask))


@pytest.mark.parametrize("name", NAMES)
def test_logits_that_are_not_a_number_show(name: str) -> None:
    logits, mask, weights = case(6)
    mask[1, 2, 3] = 0
    logits[1, :, 2, 3] = math.nan
    assert make_loss(name, weights)(logits, mask).isnan()


@pytest.mark.parametrize("name", NAMES)
def test_training_finds_the_truth(name: str) -> None:
    mask = torch.randint(0, CLASSES, (2, 6, 8))
    mask[0, :2] = 255
    logits = (0.01 * torch.randn(2, CLASSES, 6, 8)).requires_grad_()
    loss, optimizer = make_loss(name, torch.tensor([0.3, 1.0, 2.0, 5.0])), torch.optim.Adam([logits], lr=0.2)
    first = loss(logits, mask).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(logits, mask).backward()
        optimizer.step()
    assert torch.equal(logits.argmax(1)[mask != 255], mask[mask != 255])
    assert loss(logits, mask).item() < 0.2 * first


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("name", ["cross_entropy", "focal", "boundary"])
@pytest.mark.parametrize("void_rows", [0, 3, 5])
def test_mean_over_two_processes_is_the_loss_of_the_whole(name: str, divisor: Divisor, void_rows: int) -> None:
    logits, mask, weights = case(7)
    mask[0, :void_rows] = 255
    amounts: list[Tensor] = []

    def note(amount: Tensor) -> Tensor:
        amounts.append(amount)
        return amount

    def averaged(_: Tensor) -> Tensor:
        return torch.stack(amounts).mean()

    for half in (0, 1):
        make_loss(name, weights, divisor=divisor, mean_over_processes=note)(logits[[half]], mask[[half]])
    loss = make_loss(name, weights, divisor=divisor, mean_over_processes=averaged)
    found = (loss(logits[:1], mask[:1]) + loss(logits[1:], mask[1:])) / 2
    torch.testing.assert_close(found, make_loss(name, weights, divisor=divisor)(logits, mask))


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_one_graph(name: str) -> None:
    logits, mask, weights = case(8)
    loss = make_loss(name, weights)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, mask), loss(logits, mask))


def test_weights_move_with_the_loss_and_are_not_saved() -> None:
    loss = make_loss("cross_entropy", torch.ones(3))
    assert loss.to("meta").weights.device.type == "meta"
    assert not loss.state_dict()


# --- what is refused


@pytest.mark.parametrize("text", [*NAMES, SUM, "1e-1*dice", "dice+dice"])
def test_known_losses_are_let_through(text: str) -> None:
    check_loss(text)


@pytest.mark.parametrize("text", ["", "+", "dice+", "0.5*", "dise", "Dice", "dice 0.5", "dice*0.5", "dice-lovasz"])
def test_unknown_losses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"which is unknown; join names of cross_entropy, focal, .*\+0\.5\*lovasz"):
        check_loss(text)
    with pytest.raises(ConfigError, match="unknown"):
        make_loss(text, torch.ones(2))


@pytest.mark.parametrize("number", ["", "a", "0", "-1", "nan", "inf", "2*3"])
def test_factors_that_are_no_number_above_0_are_refused(number: str) -> None:
    with pytest.raises(ConfigError, match="is not a number above 0; join"):
        check_loss(f"cross_entropy+{number}*dice")


def test_unknown_divisors_are_refused() -> None:
    with pytest.raises(ConfigError, match="loss divisor 'images' is unknown; choose one of pixels, weights"):
        make_loss("dice", torch.ones(2), divisor="images")  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_impossible_label_smoothing_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing=.* is not possible; give 0 to below 1"):
        make_loss("dice", torch.ones(2), label_smoothing=share)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_impossible_prior_correction_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"prior_correction=.* is not possible; give 0 to 1"):
        make_loss("dice", torch.ones(2), prior_correction=share)
