from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pytest

from segnet.cli import main as cli
from segnet.cli.commands import predict
from segnet.cli.commands.evaluate import Corruption
from segnet.cli.flags import DataFlags, ModelFlags
from segnet.cli.parser import parse
from segnet.cli.signature import Command
from segnet.data.corruptions import CORRUPTIONS
from segnet.errors import ConfigError
from segnet.training.settings import TrainConfig
from segnet.visualization.style import OverlayStyle


def command(name: str) -> Command:
    return Command.of(name, import_module(f"segnet.cli.commands.{name.replace('-', '_')}").run)


def parsed(name: str, *words: str) -> tuple[list[Any], dict[str, Any]]:
    """The arguments that a command's ``run`` would get."""
    return parse(name, command(name).run, words)


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


def test_an_error_is_one_line_whatever_the_arguments_hold(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["models", "--nonsense", "a\nb"])
    assert capsys.readouterr().err.count("\n") == 1


def test_no_terminal_obeys_a_name_in_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(
        import_module("segnet.cli.commands.models"),
        "run",
        lambda: logging.getLogger("segnet.somewhere").warning("segnet: %s", "a\x1b[31m\nb.png"),
    )
    leave("models")
    assert capsys.readouterr().err == "segnet: a\\x1b[31m b.png\n"


def test_every_command_of_the_table_has_a_file_and_every_file_is_in_the_table() -> None:
    folder = Path(predict.__file__).parent
    assert {path.stem.replace("_", "-") for path in folder.glob("*.py")} - {"--init--"} == set(cli.COMMANDS)


def test_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--version") == 0
    assert capsys.readouterr().out == f"segnet {version('segnet')}\n"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_a_command_shows_every_flag_under_a_heading(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(name, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: segnet {name}")
    for heading, flags in command(name).groups.items():
        _, _, below = shown.partition(f"\n{heading}:\n")
        section = below.partition("\n\n")[0]
        assert {flag.option for flag in flags} == set(re.findall(r"^  (--[a-z0-9-]+)", section, re.MULTILINE))


def test_predict_groups_its_flags_by_what_they_are_for() -> None:
    assert list(command("predict").groups) == [
        "model", "size and tiles", "output", "style", "video", "test-time augmentation", "runtime",
    ]  # fmt: skip


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_help_text_is_of_full_sentences_and_names_choices_and_default(name: str) -> None:
    for flag in command(name).flags.values():
        assert flag.help[0].isupper() or flag.help.split()[0] in flag.choices, flag.option
        assert flag.full_help.endswith("."), flag.option
        assert flag.form == "switch" or "Default: " in flag.full_help, flag.option
        assert flag.form == "switch" or all(flag.values), flag.option
        shown = f"{flag.values} {flag.full_help}"
        assert all(choice in shown for choice in flag.choices), flag.option
        assert not re.search(r"%%|``", flag.full_help), flag.option


def test_a_flag_is_a_switch_in_all_commands_or_in_none_and_takes_the_same_words() -> None:
    forms: dict[str, set[tuple[str, int]]] = {}
    for name in cli.COMMANDS:
        for flag in command(name).flags.values():
            single = flag.form if flag.form in {"switch", "pair"} else "words"
            forms.setdefault(flag.option, set()).add((single, len(flag.values)))
    assert {option: found for option, found in forms.items() if len(found) > 1} == {}


def test_the_choices_of_corruptions_are_those_there_are() -> None:
    assert get_args(Corruption) == (*CORRUPTIONS, "all")


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


def run_without_reader(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard output is a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(
            [sys.executable, *map(str, words)], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)


@pytest.mark.parametrize("words", [("-m", "segnet", "--help"), ("-u", "-m", "segnet", "--help")])
def test_a_reader_that_has_gone_is_no_error(words: tuple[str, ...]) -> None:
    done = run_without_reader(*words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_gone_does_not_end_the_work(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, segnet.cli.commands.models as m\nfrom segnet.cli.main import main\n"
        "from rich.console import Console\n"
        "def run():\n    'Nothing.'\n    for _ in range(3):\n"
        "        print('text', flush=True)\n        Console().print('text')\n"
        f"    pathlib.Path({str(tmp_path / 'result')!r}).touch()\n    return 2\nm.run = run\nmain(['models'])"
    )
    done = run_without_reader("-c", code)
    assert (done.returncode, done.stderr) == (2, "")
    assert (tmp_path / "result").exists()


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize(("words", "code"), [("--help", 0), ("predict nothing.png", 2)])
def test_closed_standard_streams_are_no_error(words: str, code: int) -> None:
    shell = ["sh", "-c", f'"$0" -m segnet {words} >&- 2>&-', sys.executable]
    assert subprocess.run(shell, check=False).returncode == code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict", ""), "SOURCE is empty; give a path or a name (. is the current folder)"),
        (("predict", "a.png", "b.png", ""), "SOURCE is empty"),
        (("evaluate", ""), "DATA is empty"),
        (("predict", "--out", ""), "argument --out: the path is empty; give one, or leave the flag out"),
        (("predict", "--model", ""), "argument --model: the value is empty; give one, or leave the flag out"),
    ],
)
def test_a_variable_of_the_shell_that_is_not_set_is_not_the_current_folder(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        parsed(*words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict", "--seed", "3"), "--seed is of Monte Carlo dropout; add --samples"),
        (("temperature", "model", "data", "--seed", "3"), "--seed is of Monte Carlo dropout; add --samples"),
        (("evaluate", "data", "--resize-mode", "stretch"), "--resize-mode chooses how images are resized; add"),
        (("benchmark", "--split", "val"), "--split is of labeled images; add --data"),
        (("benchmark", "--score-limit", "9"), "--score-limit is the time to score a model; add --data"),
        (("export", "model", "--only", "Car"), "--only is of labeled images; add --calibrate"),
        (("export", "model", "--max-drop", "0.1"), "--max-drop is the largest loss by INT8; add --calibrate"),
        (("train", "data", "--encoder-norms", "new"), "--encoder-norms is of pretrained weights of the encoder; add"),
        (("train", "data", "--teacher-scales", "1,2"), "--teacher-scales resizes the images of teachers; add"),
    ],
)
def test_a_flag_that_would_be_ignored_is_refused(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        parsed(*words)


def test_a_flag_is_taken_with_the_one_that_it_needs_or_from_a_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("resize_mode: stretch\nteacher_scales: [1.0, 2.0]\n")
    assert parsed("train", "data", "--config", str(file))[1]["resize_mode"] == "stretch"
    assert parsed("train", "data", "--resume", "--teacher-scales", "1,2", "--encoder-norms", "new")[1]["resume"]
    assert parsed("predict", "--samples", "4", "--seed", "3")[1]["model"].sampling.seed == 3
    file.write_text("samples: 4")
    assert parsed("predict", "--config", str(file), "--seed", "3")[1]["model"].sampling.seed == 3
    assert parsed("train", "data", "--seed", "3")[1]["training"].seed == 3
    assert parsed("train", "data", "--resize-mode", "stretch")[1]["resize_mode"] == "stretch"


def test_flags_are_words_with_dashes_and_a_path_is_a_path() -> None:
    positional, flags = parsed("train", "data", "--weight-decay", "0.5", "--out", "there", "--validate-every", "3")
    assert positional == ["data"]
    assert flags["out"] == Path("there")
    assert flags["training"] == TrainConfig(weight_decay=0.5, validate_every=3)


def test_without_flags_the_defaults_of_the_signature_hold() -> None:
    positional, flags = parsed("train", "data")
    assert (positional, flags["training"]) == (["data"], TrainConfig())
    assert (flags["resize"], flags["resume"], flags["out"]) == (None, False, Path("runs/segnet"))
    assert parsed("predict")[0] == []
    assert parsed("evaluate", "data")[1]["json"] is None


def test_a_pair_takes_two_values() -> None:
    _, flags = parsed("train", "data", "--resize", "180", "240", "--crop-area", "0.3", "0.9", "--crop", "90", "120")
    assert flags["resize"] == (180, 240)
    assert flags["training"].augment.crop_area == (0.3, 0.9)
    assert flags["training"].augment.crop == (90, 120)


def test_a_switch_takes_no_value() -> None:
    positional, flags = parsed("predict", "--timing", "a.png")
    assert (positional, flags["timing"]) == (["a.png"], True)
    assert parsed("predict", "a.png")[1]["timing"] is False


def test_a_list_takes_names_with_commas() -> None:
    assert parsed("predict", "--save", "color,confidence")[1]["save"] == ("color", "confidence")
    assert parsed("predict")[1]["save"] is None


def test_a_list_takes_numbers_with_commas() -> None:
    training = parsed("train", "data", "--unfreeze-at", "3,6", "--loggers", "tensorboard,wandb")[1]["training"]
    assert (training.unfreeze_at, training.loggers) == ((3, 6), ("tensorboard", "wandb"))
    assert parsed("train", "data")[1]["training"].unfreeze_at == ()


def test_channels_are_a_number_or_bands_with_commas(tmp_path: Path) -> None:
    for words, channels in (((), None), (("--in-channels", "13"), 13), (("--in-channels", "3,2,1,7"), (3, 2, 1, 7))):
        assert parsed("train", "data", *words)[1]["network"].in_channels == channels
    for text, channels in (("13", 13), ("[7]", (7,)), ("3,2", (3, 2))):
        (tmp_path / "a.yaml").write_text(f"in_channels: {text}\n")
        assert parsed("train", "data", "--config", str(tmp_path / "a.yaml"))[1]["network"].in_channels == channels


def test_a_batch_is_a_number_or_left_to_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("train", "data", "--batch", "12")[1]["training"].batch == 12
    assert parsed("train", "data", "--batch", "auto")[1]["training"].batch == "auto"
    assert leave("train", "data", "--batch", "many") == 2
    assert "many" in capsys.readouterr().err


def test_a_list_of_numbers_in_a_config_file_is_yaml(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("unfreeze_at: [3, 6]\nloggers: [tensorboard]\n")
    training = parsed("train", "data", "--config", str(tmp_path / "a.yaml"))[1]["training"]
    assert (training.unfreeze_at, training.loggers) == ((3, 6), ("tensorboard",))


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


def test_a_second_settings_file_does_not_replace_the_first_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("train", "a", "--config", "base.yaml", "--config=mine.yaml") == 2
    expected = "segnet: --config is given twice, base.yaml and mine.yaml; only one file is read, so join them\n"
    assert capsys.readouterr().err == expected


def test_a_second_list_does_not_replace_the_first_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("predict", "a.png", "--tta-scales", "1", "--tta-scales=0.75,2") == 2
    expected = "segnet: --tta-scales is given twice; give it once, with commas between all its values\n"
    assert capsys.readouterr().err == expected


def test_a_list_on_the_command_line_replaces_that_of_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("loggers: [tensorboard]\n")
    words = ("data", "--config", str(tmp_path / "a.yaml"), "--loggers", "wandb")
    assert parsed("train", *words)[1]["training"].loggers == ("wandb",)


def test_of_flags_with_one_value_the_last_counts() -> None:
    assert parsed("train", "data", "--epochs", "3", "--epochs", "5")[1]["training"].epochs == 5


def test_of_many_unknown_words_the_first_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("train", "data", *(f"{number}.png" for number in range(1000))) == 2
    error = "segnet: unrecognized arguments: 0.png 1.png 2.png 3.png 4.png and 995 more; see segnet train --help\n"
    assert capsys.readouterr().err == error


def test_a_choice_is_checked_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("train", "a", "--class-weights", "foo") == 2
    error = capsys.readouterr().err
    assert "--class-weights" in error and "'foo'" in error and "sqrt_median" in error  # noqa: PT018


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("predict", "--save", "mask,maks"), "'maks' is unknown; choose from mask, overlay, color, confidence"),
        (("predict", "--opacity", "half"), "half"),
        (("predict", "--nonsense"), "--nonsense"),
        (("train",), "DATA"),
        (("train", "a", "b"), "b"),
        (("train", "a", "--resize", "180"), "--resize"),
        (("train", "a", "--resize", "180", "wide"), "wide"),
        (("train", "a", "--epochs", "1.5"), "1.5"),
        (
            ("train", "a", "--only", "road\ncar"),
            r"argument --only: 'road\ncar' holds several lines; put commas between",
        ),
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


def test_a_config_file_fills_the_flags(tmp_path: Path) -> None:
    config = write(
        tmp_path / "a.yaml",
        "epochs: 7\nlr: 2e-3\nweight-decay: 0\nresize: [48, 64]\ncrop: null\nresume: true\nout: x\n",
    )
    _, flags = parsed("train", "data", "--config", config)
    assert flags["training"] == TrainConfig(epochs=7, lr=2e-3, weight_decay=0)
    assert (flags["resize"], flags["resume"], flags["out"]) == ((48, 64), True, Path("x"))


def test_a_list_in_a_config_file_is_yaml_or_with_commas(tmp_path: Path) -> None:
    for text in ("save: [mask, color]", "save: mask,color"):
        assert parsed("predict", "--config", write(tmp_path / "a.yaml", text))[1]["save"] == ("mask", "color")


@pytest.mark.parametrize("form", [["--config", "FILE"], ["--config=FILE"]])
@pytest.mark.parametrize("first", [True, False])
def test_the_command_line_wins_over_the_config_file(tmp_path: Path, form: list[str], first: bool) -> None:
    config = write(tmp_path / "a.yaml", "opacity: 0.1\nmodel: a\n")
    given = [word.replace("FILE", config) for word in form]
    words = [*given, "--opacity", "0.3"] if first else ["--opacity", "0.3", *given]
    _, flags = parsed("predict", *words, "b.png")
    assert (flags["style"], flags["model"]) == (OverlayStyle(opacity=0.3), ModelFlags(model="a"))


def test_an_argument_may_stand_in_the_config_file_and_the_command_line_wins(tmp_path: Path) -> None:
    config = write(tmp_path / "a.yaml", "data: there\nepochs: 7\n")
    assert parsed("train", "--config", config)[0] == ["there"]
    assert parsed("train", "here", "--config", config)[0] == ["here"]


def test_flags_may_stand_between_arguments() -> None:
    positional, flags = parsed("recalibrate", "MODEL", "--batch", "2", "DATA")
    assert (positional, flags["batch"], flags["data_flags"]) == (["MODEL", "DATA"], 2, DataFlags(split="train"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch: 3", "segnet train has no flag 'epoch'; did you mean epochs?"),
        ("augment: {flip: 0.1}", "segnet train has no flag 'augment'; see segnet train --help"),
        ("epochs: many", "epochs: 'many' is not a whole number"),
        ("epochs: 1.5", "epochs: '1.5' is not a whole number"),
        ("epochs: true", "epochs: True is not one value"),
        ("batch: some", "batch: 'some' is not a whole number or auto"),
        (
            "class_weights: foo",
            "class_weights: 'foo' is unknown; choose from none, median, sqrt_median, inverse, enet, effective",
        ),
        ("resume: perhaps", "resume: 'perhaps' is neither true nor false"),
        ("resize: [1, 2, 3]", "resize: [1, 2, 3] is not a pair"),
        ("crop_area: [a, b]", "crop_area: 'a' is not a number"),
        ("only: |\n  road\n  car", r"only: 'road\ncar' holds several lines; put commas between the values"),
        ("epochs: [", "parsing"),
        ("- 1", "holds [1]; give one flag a line"),
        ("weight-decay: 0.1\nweight_decay: 0.2", "a flag stands twice, with - and with _ in its name; keep one of the"),
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


@pytest.mark.parametrize("recipe", sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_is_understood(recipe: Path) -> None:
    parsed("train", "data", "--config", str(recipe))


@pytest.mark.parametrize(
    ("command", "content", "told"),
    [
        ("train", "epochs: null", "epochs: is empty"),
        ("train", "data:", "data: None is not one value"),
        ("train", "data: [a, b]", "is not one value; give a text"),
        ("train", "data: yes", "data: True is not one value; give a text, in quotes if it is such as 'yes'"),
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
    positional, _ = parsed("predict", *["--", "--config", "a.png"])
    assert positional == ["--config", "a.png"]
