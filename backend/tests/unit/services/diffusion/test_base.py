import pytest

from app.services.diffusion.base import DiffusionModel
from app.services.diffusion.constraint import Constraint
from app.services.diffusion.errors import InvalidParameters, UnsupportedOperation
from app.services.diffusion.models import DiffusionGenerationParams, DiffusionInfillingParams
from tests.fakes import GatedModel, WordsModel


def test_a_model_that_implements_infilling_can_infill() -> None:
    assert GatedModel().capabilities == ("generate", "chat")
    assert WordsModel().capabilities == ("generate", "infill", "chat")


def test_a_model_that_says_so_can_constrain() -> None:
    constrained = DiffusionGenerationParams(text="a", constraint=Constraint(regex="b"))
    model = WordsModel()
    with pytest.raises(UnsupportedOperation, match="'words' cannot constrain") as refusal:
        model.prepare_request(constrained)
    assert (refusal.value.field, refusal.value.operation) == ("constraint", "constrain")
    model.constrains = True
    assert model.capabilities == ("generate", "infill", "chat", "constrain")
    assert model.prepare_request(constrained).params is constrained


@pytest.mark.parametrize(
    ("model", "params", "field", "message"),
    [
        (GatedModel(), DiffusionInfillingParams(prefix="a", suffix="b"), "suffix", "'gated' cannot infill"),
        (
            WordsModel(),
            DiffusionGenerationParams(text="a", algorithm="sideways"),
            "algorithm",
            "'sideways'.*forward, backward",
        ),
        (GatedModel(), DiffusionGenerationParams(text="a", algorithm="any"), "algorithm", "leave the parameter out"),
    ],
)
def test_a_parameter_that_a_model_does_not_take_is_refused_by_name(
    model: DiffusionModel,
    params: DiffusionGenerationParams | DiffusionInfillingParams,
    field: str,
    message: str,
) -> None:
    with pytest.raises(InvalidParameters, match=message) as caught:
        model.check(params)
    assert caught.value.field == field


def test_a_gap_with_nothing_behind_it_is_a_text_to_continue_to_a_model_that_cannot_infill() -> None:
    gap = DiffusionInfillingParams(prefix="a", max_length=7, seed=3, stop=["x"], stream_mode="canvas")
    continued = DiffusionGenerationParams(text="a", max_length=7, seed=3, stop=["x"], stream_mode="canvas")
    assert GatedModel().prepare_request(gap).params == continued
    assert WordsModel().prepare_request(gap).params == gap


def test_the_bound_of_max_length_is_the_models() -> None:
    model = WordsModel()
    model.max_length = 100
    model.check(DiffusionGenerationParams(text="a", max_length=100))
    with pytest.raises(InvalidParameters, match=r"max_length=101 is above 100"):
        model.check(DiffusionGenerationParams(text="a", max_length=101))


def test_details_describe_the_model() -> None:
    details = WordsModel().details()
    assert (details.model_id, details.name, details.max_length) == ("words", "words", 2048)
    assert details.algorithms == ["forward", "backward"]
    assert details.parameters["top_k"].maximum == 100
