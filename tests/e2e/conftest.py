"""What the end-to-end tests stand on: what is installed, two providers, Tollway, a virtual key, OpenClaw."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .faults import FaultyProvider
from .gateway import Gateway, configuration
from .installed import INSTALL_S_MAX, ROOT, Installed, install
from .openclaw import OpenClaw
from .processes import Child
from .provider import Provider

# Whose output is shown below a test that failed; filled and emptied by the fixtures of one session.
RUNNING = pytest.StashKey[dict[str, Child]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    if report.failed:
        for name, child in item.config.stash.get(RUNNING, {}).items():
            report.sections.append((f"output of {name}", child.tail()))
    return report


@contextmanager
def shown(config: pytest.Config, name: str, child: Child) -> Iterator[None]:
    """Shows the output of `child` below each test that fails meanwhile; one of the same name that runs longer, afterwards."""
    running = config.stash.setdefault(RUNNING, {})
    outer = running.get(name)
    running[name] = child
    yield
    if outer is None:
        running.pop(name, None)
    else:
        running[name] = outer


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Installed:
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    return install(lambda line: terminal.write_line(line) if terminal else None)


@pytest.fixture(scope="session")
def provider(
    installed: Installed, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Provider]:
    provider = Provider(installed, tmp_path_factory.mktemp("provider"))
    with shown(request.config, "the provider", provider.child):
        yield provider
    provider.stop()


@pytest.fixture(scope="session")
def faults() -> Iterator[FaultyProvider]:
    faults = FaultyProvider()
    yield faults
    faults.stop()


@pytest.fixture(scope="session")
def tollway(
    provider: Provider,
    faults: FaultyProvider,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Gateway]:
    gateway = Gateway(configuration(provider.url, faults.url), tmp_path_factory.mktemp("tollway"))
    with shown(request.config, "tollway", gateway.child):
        yield gateway
    gateway.stop()


@pytest.fixture
def virtual_key(tollway: Gateway, request: pytest.FixtureRequest) -> str:
    """A key of its own for each test, so that its spend rows are the test's own."""
    return tollway.new_key(f"key of {request.node.name}")


@pytest.fixture(scope="session")
def openclaw(
    installed: Installed,
    tollway: Gateway,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[OpenClaw]:
    """OpenClaw onboarded to Tollway and running; the key that it uses is `openclaw.key`."""
    claw = OpenClaw(installed, tmp_path_factory.mktemp("openclaw"))
    claw.key = tollway.new_key("openclaw")
    claw.onboard(tollway.url, claw.key)
    # OpenClaw's embeddings do not use the key that onboarding stored: they need it as the page's config file writes it.
    claw.environment["LITELLM_API_KEY"] = claw.key
    claw.configure({"models": {"providers": {"litellm": {"apiKey": "${LITELLM_API_KEY}"}}}})
    claw.serve()
    assert claw.server is not None
    with shown(request.config, "openclaw", claw.server):
        yield claw
    claw.stop()


@pytest.fixture
def fresh_openclaw(installed: Installed, tmp_path: Path) -> Iterator[OpenClaw]:
    """A home in which nothing was done yet: for tests after which OpenClaw may distrust its key."""
    claw = OpenClaw(installed, tmp_path / "home")
    yield claw
    claw.stop()


@pytest.fixture(scope="session")
def wheel_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pip install 'tollway[proxy]'` into a bare venv: a wheel of this checkout, its dependencies from the index."""
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv" / "bin" / "python"

    def run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    run(sys.executable, "-m", "venv", str(folder / "venv"))
    run(str(python), "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("tollway-*.whl")
    run(str(python), "-m", "pip", "install", "--quiet", f"tollway[proxy] @ {wheel.as_uri()}")
    return python.parent
