"""Documentation that is checked against the code."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY

from cxr_edge.errors import Reason

DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *REPOSITORY.glob("models/*/*.md")])


def _generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("COLUMNS", "100")
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in _generator(monkeypatch).pages().items():
        assert (DOCS / "reference" / name).read_text(encoding="utf-8") == text, "run python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{target} does not exist"


def test_every_reason_code_is_documented() -> None:
    text = (DOCS / "reference" / "reason-codes.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([a-z_]+)`", text, flags=re.MULTILINE))
    assert documented >= {reason.value for reason in Reason}


def test_readme_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from cxr_edge.phantom import phantom_dicom

    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "study.dcm").write_bytes(phantom_dicom())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - the README's own code
    assert capsys.readouterr().out.split()[0] in ("NORMAL", "PNEUMONIA")


def test_no_absolute_path_of_a_machine() -> None:
    texts = [*PAGES, *(REPOSITORY / "cxr_edge").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    suspicious = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w+")
    found = [page for page in texts if suspicious.search(page.read_text(encoding="utf-8"))]
    assert [page for page in found if page.name != "test_docs.py"] == []
