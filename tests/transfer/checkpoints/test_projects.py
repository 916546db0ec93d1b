"""Checkpoints of real projects: each converts to exactly its network, with method and epochs as the file shows them."""

import pytest
import torch

from benchmark.core.errors import UserError
from tests.transfer.checkpoints.conversion_page import PAGE, rendered
from tests.transfer.checkpoints.layout_files import light
from tests.transfer.checkpoints.project_files import PROJECTS
from tests.transfer.checkpoints.refused_files import REFUSED
from transfer.checkpoints.conversion import read_backbone
from transfer.checkpoints.resnet import expected_shapes

STATES = {"online": light(0), "momentum": light(1)}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_a_project_s_checkpoint(project, tmp_path):
    path = tmp_path / "file.pth"
    project.write(path, STATES["online"], STATES["momentum"])
    for branch in ("online", "momentum"):
        expected = getattr(project, branch)
        if expected is None or isinstance(expected, str):
            refusal = expected or (project.online if isinstance(project.online, str) else "has no momentum branch")
            with pytest.raises(UserError, match=refusal):
                read_backbone(path, branch=branch)
            continue
        found = read_backbone(path, branch=branch)
        assert (found.layout, found.method, found.epoch, found.total_epochs) == expected
        assert found.tensors.keys() == expected_shapes().keys()
        assert all(torch.equal(tensor, STATES[branch][name]) for name, tensor in found.tensors.items())
        assert found.method_from == (found.method and "file")
        assert found.epochs_from == (None if found.epoch is None else "file")


@pytest.mark.parametrize("refused", REFUSED, ids=lambda refused: refused.name)
def test_what_is_no_such_resnet_is_said(refused, tmp_path):
    refused.write(tmp_path / "file.pth")
    with pytest.raises(UserError, match=refused.said) as caught:
        read_backbone(tmp_path / "file.pth")
    assert "\n" not in str(caught.value)


def test_the_tables_in_the_docs_are_those_of_the_code():
    """``python -m tests.transfer.checkpoints.conversion_page`` writes them."""
    text = PAGE.read_text(encoding="utf-8")
    assert rendered(text, ("layouts", "projects")) == text
