"""Servers that are not there, or not any more: what is told and when, what is waited for, and what is kept."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from bench.faulty import Plan, closed_port, faulty

from sinternal import pending
from sinternal.engines import Completion, Request
from sinternal.engines.openai import OpenAIEngine
from sinternal.engines.openai_attempts import BELIEVED_WAIT, read_wait
from sinternal.engines.openai_failures import OUTAGE
from sinternal.errors import EngineError
from sinternal.settings.sampling import Sampling
from tests.commands import HANGS
from tests.plugins import open_plugin
from tests.servers import Body, Raw, serve

GREEDY = Sampling(max_tokens=32)
LONG = HANGS
"""Seconds that no test waits for in the end."""


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the user is told, as it comes."""
    words: list[str] = []
    with pending.heard_by(words.append):
        yield words


def engine(url: str, **options: object) -> OpenAIEngine:
    return open_plugin(OpenAIEngine, "served", {"base_url": url, "patience": LONG, "timeout": 10, **options})


def requests(number: int) -> list[Request]:
    return [Request(f"r{i}", (("user", f"number {i}"),)) for i in range(number)]


@contextmanager
def listener(say: bytes | None) -> Iterator[str]:
    """Something that takes connections, and says this to each; None: it says nothing and hangs up on nobody."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    if say is None:
                        held.append(connection)
                        continue
                    with connection:
                        connection.recv(65536)
                        connection.sendall(say)

        threading.Thread(target=take, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}/v1"
        for connection in held:
            connection.close()


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The address of a server that is not there."""
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}/v1"


def test_a_dead_port_is_told_at_once_and_waited_for(nowhere: str, told: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError, match=r"connection refused\), for \d+ s; is the server running\? .* done is kept"):
        list(engine(nowhere, patience=1.2).generate(requests(3), GREEDY, 0))
    assert time.monotonic() - began > 1
    (words,) = told
    assert words.startswith(f"{nowhere} cannot be reached (connection refused); it is tried again until ")
    assert words.endswith("(for 1.2 s: the engine's option patience); Ctrl-C stops, what is done is kept")


def test_a_server_that_has_never_answered_is_waited_for_briefly_unless_it_is_said_for_how_long(
    nowhere: str, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinternal.engines.openai_options.NEVER_REACHED", 0.6)
    unsaid = open_plugin(OpenAIEngine, "served", {"base_url": nowhere})
    for look in (unsaid.reach, lambda: unsaid.try_it(requests(1)[0])):
        began = time.monotonic()
        with pytest.raises(EngineError, match=r"connection refused\).*option patience \(in seconds\) waits longer"):
            look()
        assert time.monotonic() - began < unsaid.options.patience / 3
    assert "for 0.6 s: the engine's option patience" in told[0]
    assert (unsaid.options.patience, engine(nowhere).options.first_patience) == (300, LONG)


def test_a_port_that_takes_connections_and_never_answers_is_told(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinternal.engines.openai_server.LOOKING", 0.3)
    with listener(None) as at, pytest.raises(EngineError, match="takes connections and answers nothing"):
        list(engine(f"http://{at}", patience=0.5, timeout=600).generate(requests(3), GREEDY, 0))
    assert len(told) == 1


def test_a_server_that_is_only_slow_to_list_its_models_is_there(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinternal.engines.openai_server.LOOKING", 0.3)

    def slow(_method: str, path: str, *_more: object) -> None:
        if path.endswith("/models"):
            time.sleep(0.8)

    with serve(elsewhere=slow) as server:
        (got,) = engine(server.url).generate(requests(1), GREEDY, 0)
    assert got.answer == "you said: number 0"
    assert len(told) == 2


def test_what_waiting_does_not_mend_is_not_waited_for(told: list[str]) -> None:
    with (
        listener(b"HTTP/1.0 400 Bad request\r\n\r\n") as at,
        pytest.raises(EngineError, match="write http:// in place"),
    ):
        list(engine(f"https://{at}").generate(requests(3), GREEDY, 0))
    assert told == []


def test_a_server_that_hangs_up_before_tls_is_agreed_on_is_waited_for(told: list[str]) -> None:
    with listener(b"") as at, pytest.raises(EngineError, match=r"before TLS is agreed on.*is the server running"):
        list(engine(f"https://{at}", patience=0.5).generate(requests(3), GREEDY, 0))
    assert len(told) == 1
    assert "it is tried again until" in told[0]


def test_a_name_that_does_not_exist_is_not_waited_for(told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_more: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(EngineError, match=r"no host of this name.*correct the address"):
        list(engine("http://no-such-host.invalid/v1").generate(requests(3), GREEDY, 0))
    assert told == []


def test_a_server_that_speaks_tls_where_http_is_asked_for_says_so() -> None:
    with listener(b"\x15\x03\x01\x00\x02\x02\x46") as at, pytest.raises(EngineError, match="https:// in place"):
        list(engine(f"http://{at}", max_retries=0, patience=0, concurrency=4).generate(requests(OUTAGE), GREEDY, 0))


def test_a_server_that_hangs_up_on_plain_calls_may_speak_tls(told: list[str]) -> None:
    with listener(b"") as at:
        asking = engine(f"http://{at}", max_retries=0, patience=0.1, concurrency=4)
        sight = asking.look()
        assert "write https:// in place of http://" in sight.words
        with pytest.raises(EngineError, match="https:// in place"):
            list(asking.generate(requests(OUTAGE), GREEDY, 0))
    assert all("write https:// in place of http://" in words for words in told)


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server with a certificate that nobody has signed, and the file of the certificate."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl found, so no certificate of one's own")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run([openssl, "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serve(context=context) as server:
        yield server.url.replace("127.0.0.1", "localhost"), certificate


def test_a_certificate_that_nobody_has_signed_is_one_line_that_says_what_to_set(
    tls: tuple[str, Path], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, certificate = tls
    for look in (engine(url).look, lambda: list(engine(url).generate(requests(3), GREEDY, 0))):
        with pytest.raises(EngineError, match=r"certificate is not valid here: self.signed.*SSL_CERT_FILE") as error:
            look()
        assert "\n" not in str(error.value)
        assert "mend the address" not in str(error.value)
    assert told == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (got,) = engine(url).generate(requests(1), GREEDY, 0)
    assert got.answer == "you said: number 0"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_named_by_their_variable(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "certificate.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with pytest.raises(EngineError, match=r"the certificates that SSL_CERT_FILE names \(.*\) cannot be read"):
        engine("https://a.invalid/v1").look()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "all_proxy"])
def test_a_proxy_that_cannot_be_reached_is_named_and_not_the_server(
    name: str, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(one, raising=False)
        monkeypatch.delenv(one.upper(), raising=False)
    monkeypatch.setenv(name, f"http://user:hidden-word@{nowhere.removeprefix('http://').partition('/')[0]}")
    with pytest.raises(EngineError) as error:
        engine("https://a.invalid/v1").look()
    assert f"(the proxy of {name}: connection refused); mend {name}, or name the host in NO_PROXY" in str(error.value)
    assert "hidden-word" not in str(error.value)


def test_a_proxy_that_refuses_is_named_and_not_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with listener(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") as at:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{at.partition('/')[0]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("https_proxy", raising=False)
        with pytest.raises(EngineError, match=r"\(the proxy of HTTPS_PROXY: 403 Forbidden\); mend HTTPS_PROXY"):
            engine("https://a.invalid/v1").look()


def test_a_server_that_dies_and_comes_back_is_waited_for_and_the_run_goes_on_by_itself(told: list[str]) -> None:
    got: list[Completion] = []
    number = 60
    with faulty(Plan()) as first:
        running = engine(first.url, concurrency=4, max_retries=0).generate(requests(number), GREEDY, 0)
        got += [next(running) for _ in range(number // 3)]
        first.kill()
        stop = threading.Event()

        def come_back() -> None:
            while not any("cannot be reached" in words for words in told):
                time.sleep(0.05)
            with faulty(Plan(), first.port):
                stop.wait(LONG)

        thread = threading.Thread(target=come_back)
        thread.start()
        try:
            got.extend(running)
        finally:
            stop.set()
            thread.join()
    failed = [completion.error for completion in got if completion.error]
    assert sorted(completion.request_id for completion in got) == sorted(f"r{i}" for i in range(number))
    assert len(failed) <= 4, "what was under way when it died, with no retry of its own"
    assert "cannot be reached (connection refused)" in told[0]
    assert told[-1].startswith(f"{first.url} is there again, after ")


def test_a_server_that_does_not_come_back_ends_in_one_line_and_leaves_the_rest() -> None:
    got: list[Completion] = []
    with faulty(Plan()) as server:
        running = engine(server.url, concurrency=4, patience=0.7).generate(requests(60), GREEDY, 0)
        got += [next(running) for _ in range(20)]
        server.kill()
        with pytest.raises(EngineError, match="cannot be reached"):
            got.extend(running)
    assert 20 <= len({completion.request_id for completion in got}) == len(got) < 60
    assert not [completion for completion in got if completion.error], "nothing that failed meanwhile is a result"
    rest = [request for request in requests(60) if request.id not in {completion.request_id for completion in got}]
    with faulty(Plan()) as server:
        again = list(engine(server.url).generate(rest, GREEDY, 0))
        asked = server.ledger()
    assert len(asked) == len(rest) == len(again)


def test_a_server_that_falls_silent_is_looked_at_and_waited_for(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sinternal.engines.openai.SILENCE", 0.3)
    monkeypatch.setattr("sinternal.engines.openai_server.LOOKING", 0.3)
    with faulty(Plan()) as server:
        running = engine(server.url, concurrency=2, timeout=4, patience=0.5).generate(requests(20), GREEDY, 0)
        next(running)
        server.pause()
        with pytest.raises(EngineError, match="takes connections and answers nothing"):
            list(running)
    assert "has sent nothing for" in told[0], "long before a call has timed out"
    assert "it is tried again until" in told[1]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_refuses_for_a_while_is_asked_by_one_call_at_a_time_until_it_does_not(
    status: int, told: list[str]
) -> None:
    busy_until = 10

    def reply(_body: Body) -> Body | Raw:
        with server.lock:
            number = len(server.calls)
        return Raw(status, {"error": {"message": "full"}}) if number <= busy_until else {"content": "fine"}

    with serve(reply=reply) as server:
        got = list(engine(server.url, concurrency=8, max_retries=1).generate(requests(30), GREEDY, 0))
    assert sorted(one.request_id for one in got) == sorted(request.id for request in requests(30))
    assert {one.answer for one in got} == {"fine"}, "no call has failed for what all of them met"
    assert any(f"answers {status}: full, 8 calls in a row; it is tried again until" in words for words in told)


EXHAUSTED = (
    Raw(429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
    Raw(402, {"error": {"message": "Insufficient Balance"}}),
    Raw(400, {"error": {"type": "invalid_request_error", "message": "Your credit balance is too low"}}),
)


@pytest.mark.parametrize("reply", EXHAUSTED)
def test_an_account_without_quota_is_told_after_the_first_calls(reply: Raw, told: list[str]) -> None:
    with serve(reply=lambda _body: reply) as server, pytest.raises(EngineError, match=r"no quota left.*run again"):
        list(engine(server.url, concurrency=4).generate(requests(100), GREEDY, 0))
    assert len(server.calls) <= 4
    assert told == []


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Raw(401, {"error": {"message": "bad key"}}), "asks for a key|refuses the key"),
        (Raw(403, {"error": {"message": "not for this project"}}), "does not allow this: not for this project"),
        (
            Raw(404, {"error": {"message": "no such model"}}),
            r"lists the model 'served' and answers 404 \(no such model\); is the address right\?",
        ),
        (Raw(400, {"error": {"message": "maximum context length is 16 tokens"}}), "refuses every request.*16 tokens"),
    ],
)
def test_what_no_call_can_mend_is_told_once_with_its_cause(reply: Raw, words: str, told: list[str]) -> None:
    with serve(reply=lambda _body: reply) as server, pytest.raises(EngineError, match=words):
        list(engine(server.url, concurrency=4).generate(requests(10_000), GREEDY, 0))
    assert len(server.calls) <= 20 + 4, "and not ten thousand times"
    assert told == []


@pytest.mark.parametrize("value", ["-5", "nan", "inf", "-inf", "1e999", "9" * 400, "soon", "", "1_0x", "\u00b2"])
def test_an_absurd_retry_after_is_no_reason_to_wait(value: str) -> None:
    assert read_wait(None, value) is None
    assert read_wait(value, None) is None


def test_a_retry_after_is_waited_if_it_can_be_believed() -> None:
    assert read_wait(None, "2.5") == 2.5
    assert read_wait("1500", "9") == 1.5
    assert read_wait(None, str(BELIEVED_WAIT + 1)) is None
    soon = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    assert 0 < (read_wait(None, soon) or 0) <= 100
    assert read_wait(None, "Wed, 21 Oct 2015 07:28:00 GMT") is None
    assert read_wait(None, "Fri, 31 Dec 9999 23:59:59 GMT") is None
