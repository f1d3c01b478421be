import app.text


def test_public_names_exist_and_are_sorted() -> None:
    assert app.text.__all__ == sorted(app.text.__all__, key=lambda name: (not name[0].isupper(), name))
    assert all(hasattr(app.text, name) for name in app.text.__all__)
