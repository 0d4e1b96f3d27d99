from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from segnet.cli import main as cli
from segnet.cli.commands import predict
from segnet.errors import ConfigError
from segnet.training.settings import TrainConfig
from segnet.visualization.style import OverlayStyle


class Called(Exception):  # noqa: N818
    """Carries what a command was called with."""


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse only: the arguments that a command's ``run`` would get."""

    def parse(*words: str) -> tuple[list[Any], dict[str, Any]]:
        name, *arguments = words
        return cli.parse(name, import_module(f"segnet.cli.commands.{name}").run, arguments)

    return parse


def leave(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    return int(left.value.code or 0)


def command_that(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run() -> None:
        """Nothing."""
        raise error

    monkeypatch.setattr(import_module("segnet.cli.commands.models"), "run", run)


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_the_overview_names_every_command(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(*words) == 0
    told = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert re.search(rf"^  {name} ", told, re.MULTILINE)


def test_every_command_of_the_table_has_a_file_and_every_file_is_in_the_table() -> None:
    folder = Path(predict.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(cli.COMMANDS)


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--version") == 0
    assert capsys.readouterr().out == f"segnet {version('segnet')}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command_documents_every_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(name, "--help") == 0
    told = capsys.readouterr().out
    assert f"usage: segnet {name}" in told
    options = told.partition("options:")[2]
    for flag in re.findall(r"^  (--[a-z-]+)[^\n]*\n", options, re.MULTILINE):
        assert "_" not in flag
    undocumented = re.findall(r"^  --[a-z-]+(?: [A-Z,]+)*\n(?=  -|\Z)", options, re.MULTILINE)
    assert not undocumented


def test_a_misspelt_command_is_answered_with_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("predcit") == 2
    assert capsys.readouterr().err == "segnet: there is no command 'predcit'; did you mean 'predict'?\n"


def test_a_strange_command_is_answered_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("xyz") == 2
    assert capsys.readouterr().err == f"segnet: there is no command 'xyz'; known are {', '.join(cli.COMMANDS)}\n"


def test_what_a_user_can_mend_is_one_line_and_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(monkeypatch, ConfigError("this is wrong; do that"))
    assert leave("models") == 2
    assert capsys.readouterr().err == "segnet: this is wrong; do that\n"


def test_an_interrupt_is_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(monkeypatch, KeyboardInterrupt())
    assert leave("models") == 130
    assert capsys.readouterr().err == "segnet: interrupted\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError, match="ours"):
        cli.main(["models"])


def test_a_bug_is_code_1_in_a_process() -> None:
    code = (
        "import segnet.cli.commands.models as m\nfrom segnet.cli.main import main\n"
        "def run():\n    'Nothing.'\n    raise ZeroDivisionError('ours')\nm.run = run\nmain(['models'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: ours" in done.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "segnet", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_flags_are_words_with_dashes_and_a_path_is_a_path(heard: Any) -> None:
    positional, flags = heard("train", "data", "--weight-decay", "0.5", "--out", "there", "--validate-every", "3")
    assert positional == ["data"]
    assert flags["out"] == Path("there")
    assert flags["training"] == TrainConfig(weight_decay=0.5, validate_every=3)


def test_without_flags_the_defaults_of_the_signature_hold(heard: Any) -> None:
    positional, flags = heard("train", "data")
    assert (positional, flags["training"]) == (["data"], TrainConfig())
    assert (flags["size"], flags["resume"], flags["out"]) == (None, False, Path("runs/segnet"))
    assert heard("predict")[0] == []
    assert heard("evaluate", "data")[1]["json"] is None


def test_a_pair_takes_two_values(heard: Any) -> None:
    _, flags = heard("train", "data", "--size", "180", "240", "--crop-area", "0.3", "0.9", "--crop", "90", "120")
    assert flags["size"] == (180, 240)
    assert flags["training"].augment.crop_area == (0.3, 0.9)
    assert flags["training"].augment.crop == (90, 120)


def test_a_switch_takes_no_value(heard: Any) -> None:
    positional, flags = heard("predict", "--timing", "a.png")
    assert (positional, flags["timing"]) == (["a.png"], True)
    assert heard("predict", "a.png")[1]["timing"] is False


def test_a_list_takes_names_with_commas(heard: Any) -> None:
    assert heard("predict", "--save", "color,confidence")[1]["save"] == ["color", "confidence"]
    assert heard("predict")[1]["save"] is None


def test_a_list_takes_numbers_with_commas(heard: Any) -> None:
    training = heard("train", "data", "--thaw", "3,6", "--loggers", "tensorboard,wandb")[1]["training"]
    assert (training.thaw, training.loggers) == ((3, 6), ("tensorboard", "wandb"))
    assert heard("train", "data")[1]["training"].thaw == ()


def test_a_batch_is_a_number_or_left_to_the_machine(heard: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert heard("train", "data", "--batch", "12")[1]["training"].batch == 12
    assert heard("train", "data", "--batch", "auto")[1]["training"].batch == "auto"
    assert leave("train", "data", "--batch", "many") == 2
    assert "many" in capsys.readouterr().err


def test_a_list_of_numbers_in_a_config_file_is_yaml(heard: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("thaw: [3, 6]\nloggers: [tensorboard]\n")
    training = heard("train", "data", "--config", str(tmp_path / "a.yaml"))[1]["training"]
    assert (training.thaw, training.loggers) == ((3, 6), ("tensorboard",))


def test_a_misspelt_flag_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("train", "a", "--epocs", "3") == 2
    assert capsys.readouterr().err == "segnet: unrecognized arguments: --epocs 3; did you mean --epochs?\n"


def test_a_cut_off_flag_is_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("train", "a", "--epoch", "3") == 2
    assert "did you mean --epochs?" in capsys.readouterr().err


def test_a_missing_settings_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--config", "nowhere.yaml"), ("--config=nowhere.yaml",)):
        assert leave("train", "a", *words) == 2
        expected = "segnet: nowhere.yaml: there is no such settings file; give a YAML file of flags\n"
        assert capsys.readouterr().err == expected


def test_a_choice_is_checked_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("train", "a", "--balance", "foo") == 2
    error = capsys.readouterr().err
    assert "--balance" in error and "'foo'" in error and "sqrt_median" in error  # noqa: PT018


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict", "--save", "mask,maks"), "'maks' is unknown; choose of mask, overlay, color, confidence"),
        (("predict", "--opacity", "half"), "half"),
        (("predict", "--nothing"), "--nothing"),
        (("train",), "data"),
        (("train", "a", "b"), "b"),
        (("train", "a", "--size", "180"), "--size"),
        (("train", "a", "--size", "180", "wide"), "wide"),
        (("train", "a", "--epochs", "1.5"), "1.5"),
    ],
)
def test_a_wrong_flag_is_one_line_that_points_to_the_help(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave(*words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert error.endswith(f"; see segnet {words[0]} --help\n")


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_config_file_fills_the_flags(heard: Any, tmp_path: Path) -> None:
    config = write(
        tmp_path / "a.yaml", "epochs: 7\nlr: 2e-3\nweight-decay: 0\nsize: [48, 64]\ncrop: null\nresume: true\nout: x\n"
    )
    _, flags = heard("train", "data", "--config", config)
    assert flags["training"] == TrainConfig(epochs=7, lr=2e-3, weight_decay=0)
    assert (flags["size"], flags["resume"], flags["out"]) == ((48, 64), True, Path("x"))


def test_a_list_in_a_config_file_is_yaml_or_with_commas(heard: Any, tmp_path: Path) -> None:
    for text in ("save: [mask, color]", "save: mask,color"):
        assert heard("predict", "--config", write(tmp_path / "a.yaml", text))[1]["save"] == ["mask", "color"]


@pytest.mark.parametrize("form", [["--config", "FILE"], ["--config=FILE"]])
@pytest.mark.parametrize("first", [True, False])
def test_the_command_line_wins_over_the_config_file(heard: Any, tmp_path: Path, form: list[str], first: bool) -> None:
    config = write(tmp_path / "a.yaml", "opacity: 0.1\nmodel: a\n")
    given = [word.replace("FILE", config) for word in form]
    words = [*given, "--opacity", "0.3"] if first else ["--opacity", "0.3", *given]
    _, flags = heard("predict", *words, "b.png")
    assert (flags["look"], flags["model"]) == (OverlayStyle(opacity=0.3), "a")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch: 3", "epoch"),
        ("augment: {flip: 0.1}", "augment"),
        ("epochs: many", "many"),
        ("resume: perhaps", "resume: 'perhaps' in the --config file is neither true nor false"),
        ("size: [1, 2, 3]", "size: [1, 2, 3] in the --config file is not a pair"),
        ("crop_area: [a, b]", "crop_area"),
        ("epochs: [", "parsing"),
        ("- 1", "- 1"),
        ("warmup: 2", "warmup=2"),
    ],
)
def test_a_wrong_config_file_is_one_line(
    text: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("train", "data", "--config", write(tmp_path / "a.yaml", text)) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_an_unknown_name_in_a_list_of_a_config_file_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("predict", "--config", write(tmp_path / "a.yaml", "save: [banana]")) == 2
    assert "'banana' is unknown" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_is_understood(recipe: Path, heard: Any) -> None:
    heard("train", "data", "--config", str(recipe))


@pytest.mark.parametrize(
    ("command", "content", "told"),
    [
        ("train", "epochs: null", "epochs: is empty"),
        ("predict", "source: [x.jpg]", "source belongs on the command line"),
    ],
)
def test_a_settings_file_is_not_half_read(
    command: str, content: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_text(content)
    assert leave(command, *(["data"] if command == "train" else []), "--config", str(tmp_path / "settings.yaml")) == 2
    assert told in capsys.readouterr().err


def test_what_follows_two_dashes_is_no_flag() -> None:
    from segnet.cli.commands.predict import run

    positional, _ = cli.parse("predict", run, ["--", "--config", "a.png"])
    assert positional == ["--config", "a.png"]
