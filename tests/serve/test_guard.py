"""Who may ask: Host, Origin, token; and the headers of every answer."""

from collections.abc import Callable

import pytest
from serving import Api

from cxr_edge.serve.edge import SECURITY_HEADERS

TOKEN = "t" * 32
REMOTE = {"host": "0.0.0.0", "token": TOKEN}  # noqa: S104 - nothing is bound here
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost:8000", 200),
        ("LocalHost:8000", 200),
        ("[::1]:8000", 200),
        ("127.0.0.1", 421),
        ("127.0.0.1:80", 421),
        ("127.0.0.2:8000", 200),  # this machine, too
        ("192.0.2.7:8000", 421),
        ("rebound.example:8000", 421),
        ("localhost.rebound.example:8000", 421),
        ("user@localhost:8000", 421),
        ("localhost:8000/", 421),
        ("localhost:", 421),
        ("[::1:8000", 421),
        ("localhost:99999", 421),
        ("", 421),
    ],
)
def test_host_on_this_machine(api: Api, host: str, status: int) -> None:
    response = api.get("/model", headers={"host": host})
    assert response.status_code == status
    assert status == 200 or response.json()["reason"] == "foreign_host"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.7:8000", 200),  # an address cannot be rebound
        ("[2001:db8::7]:8000", 200),
        ("192.0.2.7", 421),
        ("xray.example.org", 200),
        ("xray.example.org:443", 200),
        ("other.example.org:8000", 421),
    ],
)
def test_host_in_a_network(api_with: Callable[..., Api], host: str, status: int) -> None:
    api = api_with(is_loopback=False, allowed_hosts=("Xray.example.org",), **REMOTE)
    assert api.get("/model", headers={"host": host, **BEARER}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://127.0.0.1:8000", 200),  # a proxy that speaks TLS
        ("http://localhost:8000", 403),
        ("http://127.0.0.1:8001", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_origin(api: Api, png: bytes, method: str, origin: str, status: int) -> None:
    files = {"file": ("a", png)} if method == "POST" else None
    path = "/predict" if method == "POST" else "/model"
    response = api.request(method, path, files=files, headers={"origin": origin})
    assert response.status_code == status
    assert status == 200 or response.json()["reason"] == "foreign_origin"


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer  {TOKEN}", 200),
        (None, 401),
        ("", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}t", 401),
        ("Bearer é", 401),
    ],
)
@pytest.mark.parametrize("path", ["/model", "/metrics", "/openapi.json", "/results/0/radiograph.png"])
def test_token(api_with: Callable[..., Api], path: str, authorization: str | None, status: int) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode()}
    response = api_with(token=TOKEN).get(path, headers=headers)
    assert response.status_code == (404 if status == 200 and "results" in path else status)
    if status == 401:
        assert response.json()["reason"] == "token_required"
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_page_loads_without_a_token(api_with: Callable[..., Api], png: bytes) -> None:
    api = api_with(token=TOKEN)
    assert [api.get(path).status_code for path in ("/", "/health", "/ready")] == [200, 200, 200]
    assert api.get("/assets/nothing").status_code == 404
    assert api.predict(("a", png)).status_code == 401
    assert api.predict(("a", png), headers=BEARER).status_code == 200


def test_the_token_is_compared_in_constant_time(api_with: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, token: bytes) -> bool:
        compared.append((given, token))
        return False

    monkeypatch.setattr("cxr_edge.serve.guard.hmac.compare_digest", compare)
    assert api_with(token=TOKEN).get("/model", headers=BEARER).status_code == 401
    assert compared == [(TOKEN.encode(), TOKEN.encode())]
    assert TOKEN not in repr(api_with(token=TOKEN).application)


@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/model", 200), ("/nothing", 404), ("/predict", 405), ("/assets/style.css", 200)]
)
def test_security_headers(api: Api, path: str, status: int) -> None:
    response = api.get(path)
    assert response.status_code == status
    for name, value in SECURITY_HEADERS.items():
        if (name, status) != ("cache-control", 200):
            assert response.headers[name] == value
    assert not any(name.startswith("access-control") for name in response.headers)
    assert "server" not in response.headers


def test_no_preflight_is_granted(api: Api) -> None:
    headers = {"origin": "http://127.0.0.1:8000", "access-control-request-method": "POST"}
    response = api.request("OPTIONS", "/predict", headers=headers)
    assert response.status_code == 405
    assert not any(name.startswith("access-control") for name in response.headers)
