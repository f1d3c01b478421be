from app.engine.decoding.rules import LogitRules, Score
from app.engine.passes.work import SequenceInput, Work

RULES = LogitRules(Score.PROBABILITY, 0.0, None, None, scores_see_filters=False)


def test_rows_are_counted_over_all_sequences_of_a_request() -> None:
    sequences = (SequenceInput([1, 2, 3], [0, 2]), SequenceInput([4], []), SequenceInput([5, 6], [1]))
    assert Work(sequences, RULES).num_rows == 3
