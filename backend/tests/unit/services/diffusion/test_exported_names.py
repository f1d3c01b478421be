import app.services.diffusion as package


def test_the_public_names_are_a_decision() -> None:
    assert package.__all__ == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith("app.services.diffusion")
