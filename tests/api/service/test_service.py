"""The service: answers over HTTP are what `predict` gives, and nothing that is sent brings it down."""

import http.client
import io
import json
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from aisles.hierarchy.hierarchy import Hierarchy
from aisles.models.prediction.label_model import GivenModel
from aisles.models.prediction.two_stage import TwoStageClassifier
from aisles.service.answering import Limits, Service
from aisles.service.http import Refused, Server, read_multipart

pytestmark = pytest.mark.keras  # importing predictors loads Keras
HIERARCHY = Hierarchy(("warm", "cold"), (("amber", "red"), ("navy", "sky")))


def by_channel(first, second):
    """A model of two labels that tells which of two colors prevails."""

    def model(pixels):
        means = pixels.astype(float).mean((1, 2))[:, [first, second]] + 1
        return means / means.sum(1, keepdims=True)

    return model


@pytest.fixture(scope="module")
def classifier():
    models = [GivenModel(by_channel(*pair), labels, (4, 4)) for pair, labels in (
        ((0, 2), HIERARCHY.macros), ((1, 0), HIERARCHY.members[0]), ((0, 1), HIERARCHY.members[1]),
    )]  # fmt: skip
    return TwoStageClassifier(models[0], models[1:], HIERARCHY)


@pytest.fixture
def serving(classifier):
    """Serve, with small limits, as long as a test runs."""
    with Server(Service(classifier, limits=Limits(20_000, 3, 2, seconds=5)), port=0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def png(color, size=(6, 4)):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


def ask(server, path="/predict", data=None, headers=None, method=None):
    request = urllib.request.Request(server.url + path, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def several(files, boundary="x1y2"):
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), kind


def test_one_image_gets_the_answer_of_predict(serving, classifier):
    status, answer = ask(serving, "/predict?rule=climb:0.6&top=2", png((250, 10, 5)))
    (expected,) = classifier.predict([png((250, 10, 5))], rule="climb:0.6", top=2)
    assert status == 200
    assert answer["label"] == expected.label == "red" and answer["macro"] == "warm"
    assert answer["probability"] == expected.probability and answer["answered"] == "class"
    assert [tuple(pair) for pair in answer["top"]] == list(expected.top)


def test_of_several_images_the_bad_one_gets_an_error_and_the_others_their_answers(serving, classifier):
    files = [
        ("ä.png", png((250, 10, 5))),
        ("notes.txt", b"\r\n--x1y\r\nnot an image"),
        ("b.png", png((0, 30, 250))),
    ]
    status, content = ask(serving, "/predict", *several(files))
    answers = content["answers"]
    assert status == 200 and [answer["file_name"] for answer in answers] == ["ä.png", "notes.txt", "b.png"]
    assert answers[0]["label"] == "red" and answers[2]["label"] == "sky"
    assert "error" in answers[1] and "label" not in answers[1]


def test_restriction_is_that_of_predict(serving):
    _, answer = ask(serving, "/predict?only=navy&only=amber", png((250, 10, 5)))
    assert answer["label"] == "amber"
    assert sum(probability for _, probability in answer["top"]) == pytest.approx(1)


def test_info_and_health_tell_what_is_known(serving):
    assert ask(serving, "/health") == (200, {"status": "ok"})
    status, info = ask(serving, "/info")
    assert status == 200 and info["macros"] == {"warm": ["amber", "red"], "cold": ["navy", "sky"]}
    assert info["limits"] == {"image_bytes": 20_000, "images": 3, "waiting": 2} and info["rule"] == "soft"


@pytest.mark.parametrize(
    ("path", "data", "status", "told"),
    [
        ("/predict", b"no image", 400, "The image"),
        ("/predict", b"", 400, "The image"),
        ("/predict", b"x" * 30_000, 400, "30000 bytes; the limit is 20000"),
        ("/predict?rule=best", b"x", 422, "best"),
        ("/predict?rule=hie", b"x", 422, "needs a flat model"),
        ("/predict?only=pink", b"x", 422, "pink"),
        ("/predict?top=many", b"x", 422, "whole number"),
        ("/predict?color=red", b"x", 422, "Parameters are rule, only, top"),
        ("/elsewhere", b"x", 404, "POST /predict"),
        ("/predict", None, 405, "/predict takes POST"),
        ("/info", b"x", 405, "/info takes GET"),
    ],
)
def test_requests_that_can_not_be_answered_say_why(serving, path, data, status, told):
    found, content = ask(serving, path, data)
    assert (found, list(content)) == (status, ["error"]) and told in content["error"]
    assert ask(serving, "/health")[0] == 200  # it goes on


def test_an_image_too_large_among_several_and_too_many_images_are_told(serving):
    _, content = ask(serving, "/predict", *several([("a.png", png((9, 9, 250))), ("b.png", b"x" * 30_000)]))
    assert content["answers"][0]["macro"] == "cold" and "30000 bytes" in content["answers"][1]["error"]
    assert ask(serving, "/predict", *several([("a.png", png((9, 9, 9)))] * 4))[0] == 413
    assert ask(serving, "/predict", *several([]))[0] == 400


def test_a_body_over_the_limit_is_refused_unread(serving):
    connection = http.client.HTTPConnection(*serving.server_address[:2], timeout=10)
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(10**12))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413 and "the limit is" in json.load(response)["error"]
    connection.putrequest("POST", "/predict")
    connection.endheaders()
    assert connection.getresponse().status == 411


def test_the_reason_arrives_though_the_body_is_far_too_large(serving):
    status, content = ask(serving, "/predict", b"x" * 12_000_000)  # sent at once, without asking
    assert status == 413 and "the limit is" in content["error"]


def test_more_requests_than_may_wait_are_sent_away_and_served_later(serving):
    slow = []
    for _ in range(2):  # two that never end fill the room
        slow.append(socket.create_connection(serving.server_address[:2], timeout=10))
        slow[-1].sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
    for _ in range(100):
        if not serving.room._value:
            break
        threading.Event().wait(0.05)
    status, content = ask(serving, "/predict", png((250, 10, 5)))
    assert status == 503 and "Try again" in content["error"]
    for connection in slow:
        connection.close()
    for _ in range(100):
        status, content = ask(serving, "/predict", png((250, 10, 5)))
        if status == 200:
            break
        threading.Event().wait(0.05)
    assert content["label"] == "red"


def test_a_body_that_trickles_in_ends_after_the_time_it_is_given(classifier):
    with Server(Service(classifier, limits=Limits(seconds=0.2)), port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with socket.create_connection(server.server_address[:2], timeout=10) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
            told = b""
            for _ in range(200):
                try:
                    connection.sendall(b"x")
                except OSError:
                    break
                connection.settimeout(0.05)
                try:
                    told = connection.recv(1000)
                    break
                except TimeoutError:
                    continue
        assert b"408" in told.split(b"\r\n")[0]
        server.shutdown()


def test_many_threads_get_their_own_answers(classifier):
    rng = np.random.default_rng(0)
    images = [png(tuple(rng.integers(0, 256, 3).tolist())) for _ in range(40)]
    expected = [answer.probability for answer in classifier.predict(images)]
    with Server(Service(classifier), port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda data: ask(server, "/predict", data), images))
        server.shutdown()
    assert [status for status, _ in found] == [200] * 40
    assert [answer["probability"] for _, answer in found] == expected


def test_what_fails_inside_is_logged_and_not_told(classifier, caplog):
    service = Service(classifier)
    service.answers = lambda *args, **named: 1 / 0
    with Server(service, port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        status, content = ask(server, "/predict", b"x")
        server.shutdown()
    assert status == 500 and "ZeroDivision" not in content["error"] and "ZeroDivisionError" in caplog.text


def test_multipart_bodies_keep_every_byte_and_damaged_ones_are_refused():
    data = bytes(range(256)) + b"\r\n\r\n--x1y\r\n" + b"\r\n"
    body, headers = several([("a b.png", data), ("c.png", b"")])
    assert read_multipart(body, headers["Content-Type"]) == [("a b.png", data), ("c.png", b"")]
    with pytest.raises(Refused, match="cut short"):
        read_multipart(body[:-20], headers["Content-Type"])
    with pytest.raises(Refused, match="needs a boundary"):
        read_multipart(body, "multipart/form-data")
    with pytest.raises(Refused, match="needs a Content-Disposition"):
        read_multipart(b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b")


def test_the_command_serves_a_bundle_until_it_is_ended(make_bundle):
    import signal
    import subprocess
    import sys

    command = [sys.executable, "-m", "aisles", "serve", str(make_bundle), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        told = json.loads("".join(process.stdout.readline() for _ in range(4)))
        with urllib.request.urlopen(told["url"] + "/info", timeout=20) as response:
            info = json.load(response)
        with urllib.request.urlopen(told["url"] + "/predict", png((200, 20, 20)), timeout=60) as response:
            answer = json.load(response)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert info["classes"] == ["amber", "red"] and answer["label"] in info["classes"]


@pytest.fixture
def make_bundle(tmp_path):
    import keras
    from keras import layers

    from aisles.models.bundles.bundle import save_bundle
    from aisles.models.prediction.two_stage import FlatClassifier

    network = keras.Sequential(
        [keras.Input((4, 4, 3)), layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")]
    )
    return save_bundle(FlatClassifier.from_model(network, ["amber", "red"]), tmp_path / "bundle")
