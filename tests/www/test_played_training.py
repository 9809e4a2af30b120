"""The trainings that the front end's tests play are what the API really answers."""

from __future__ import annotations

import pytest

from hogar_provider.plugins.api.datamodels.training import TrainingBatchChangeView, TrainingView
from tests.www.played_training import PlayedTraining, trained, training


@pytest.mark.parametrize("played", [training(), trained(), PlayedTraining({})])
@pytest.mark.parametrize("query", [{}, {"since": "1.5", "runs": "1"}])
def test_a_played_reply_has_the_fields_of_the_real_one(
    played: PlayedTraining, query: dict[str, str]
) -> None:
    reply = played.view(None, query)
    read = TrainingView.model_validate(reply)
    assert read.model_dump(by_alias=True) == reply


def test_a_played_change_has_the_fields_of_the_real_one() -> None:
    change = training().change("Classifier", {"batch": 96})
    read = TrainingBatchChangeView.model_validate(change)
    assert read.model_dump(by_alias=True) == change
