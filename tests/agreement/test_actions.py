"""Each action alone computes the same: on some kernels, others each day; on all on request."""

from datetime import date

import pytest

from tests.agreement.actions import KERNELS, try_alone, try_everywhere
from tests.agreement.graphs import LEAST
from tests.codegen.optimize.fuzz import MAKERS
from tinycore.codegen.optimize.actions import ACTIONS

TODAY = date.today().toordinal()
PART = 7  # of the kernels, in a run


def test_every_action_of_the_vocabulary_is_drawn() -> None:
    assert MAKERS.keys() == ACTIONS.keys()


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_alone_agrees_on_some_kernels(name: str) -> None:
    for title in [*KERNELS][TODAY % PART :: PART]:
        try_alone(KERNELS[title], name, TODAY)


@pytest.mark.slow
@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_alone_agrees_on_every_kernel_and_fires_20_times(name: str) -> None:
    assert try_everywhere(name)[name] >= LEAST
