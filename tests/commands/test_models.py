from __future__ import annotations

import pytest

from segnet.cli import main
from segnet.models.zoo import list_models


def test_every_model_is_listed_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["models"])
    assert left.value.code == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert set(list_models()) <= set(rows)
    # The paper's nets at CamVid's eleven classes.
    assert rows["segnet"][1] == "29,449,355"
    assert rows["segnet_basic"][1] == "1,416,587"
