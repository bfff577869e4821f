"""The architecture, held by a test: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "vllm", "sglang", "ray", "pyspark", "llama_cpp"}
VERIFY_MAY_USE = {
    "keys",
    "keyfile",
    "prf",
    "windows",
    "channels",
    "schemes",
    "native",
    "errors",
    "secret",
    "__version__",
}


def imports(path):
    """(line's module, whether at the top level) of every absolute import."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield name, node in tree.body


def files(*folders):
    return [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", files("watermark"), ids=str)
def test_watermark_never_imports_verify(path):
    assert not [name for name, _ in imports(path) if name.split(".")[0] in ("verify", "benchmarks", "demo")]


@pytest.mark.parametrize("path", files("verify"), ids=str)
def test_verify_imports_only_the_public_side_of_watermark(path):
    parts = path.relative_to(ROOT).parts
    for name, top in imports(path):
        package, _, rest = name.partition(".")
        if package != "watermark" or (rest.split(".")[0] in VERIFY_MAY_USE):
            continue
        assert parts[1] == "cli", f"{path} imports {name}"
        assert not top or rest.split(".")[0] == "defaults", f"{path} imports {name} early"


@pytest.mark.parametrize("path", files("watermark", "verify"), ids=str)
def test_heavy_packages_stay_in_the_engines(path):
    parts = path.relative_to(ROOT).parts
    for name, top in imports(path):
        if name.split(".")[0] in HEAVY:
            late = parts[1] == "cli" or parts[1:3] == ("scaling", "runners")
            assert parts[1] == "engines" or (late and not top), f"{path} imports {name}"


def test_help_loads_no_array_library():
    code = (
        "import sys; from verify.cli import main; main(['--help']); "
        "print(sorted({'numpy', 'scipy', 'tokenizers', 'cryptography'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
