"""Asks a running daemon by the clients of other servers, with no code of the daemon's.

    python3 clients.py < QUESTION

QUESTION is JSON: `url`, `stream`, `generation`, and `texts` or `pictures` (paths). Prints JSON: for each client the vectors that it was
given in every way that it can ask, or why it is absent. Anything else that goes wrong ends the program.
"""

import base64
import json
import sys


def openai(url, stream, generation, strings, **_):
    import openai

    model = f"{stream}@{generation}"
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)
    assert {model, stream} <= {known.id for known in client.models.list()}
    assert client.models.retrieve(model).owned_by == "curiod"
    ways = {}
    for way, more in [("base64", {}), ("float", {"encoding_format": "float"})]:
        answer = client.embeddings.create(model=model, input=strings, **more)
        assert [row.index for row in answer.data] == list(range(len(strings)))
        assert answer.model == model and answer.usage.total_tokens == answer.usage.prompt_tokens
        ways[way] = [row.embedding for row in answer.data]
    one = client.embeddings.create(model=model, input=strings[0], dimensions=len(ways["float"][0]))
    ways["one"] = [one.data[0].embedding]
    for wrong, error in [
        ({"input": [1, 2]}, openai.BadRequestError),
        ({"input": strings, "dimensions": 3}, openai.BadRequestError),
        ({"input": strings, "model": "nobody"}, openai.NotFoundError),
    ]:
        try:
            client.embeddings.create(**{"model": model, **wrong})
        except error as refused:
            assert refused.body["message"] and refused.type == "invalid_request_error", refused.body
        else:
            raise AssertionError(f"{wrong} was answered")
    return ways


def langchain_openai(url, stream, generation, strings, **_):
    from langchain_openai import OpenAIEmbeddings

    model = f"{stream}@{generation}"
    # Without this it would send the token ids of another vocabulary.
    ours = {"check_embedding_ctx_length": False}
    client = OpenAIEmbeddings(model=model, base_url=url + "/v1", api_key="none", **ours)
    return {"documents": client.embed_documents(strings), "query": [client.embed_query(strings[0])]}


def huggingface_hub(url, stream, generation, strings, **_):
    from huggingface_hub import InferenceClient

    model = {"Curiod-Model": f"{stream}@{generation}"}
    client = InferenceClient(model=url + "/embed", headers=model)
    ways = {"list": client.feature_extraction(strings).tolist()}
    ways["one"] = client.feature_extraction(strings[0], normalize=True, truncate=True).tolist()
    # Some versions send it to the server's root.
    ways["root"] = InferenceClient(base_url=url, headers=model).feature_extraction(strings[0]).tolist()
    return ways


def tritonclient(url, stream, generation, strings, raw, tensor):
    # Without it the client's own import fails by another error than that it is absent.
    import geventhttpclient  # noqa: F401
    import numpy
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

    version = str(generation)
    client = triton.InferenceServerClient(url.removeprefix("http://"))
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(stream) and client.is_model_ready(stream, version)
    assert not client.is_model_ready("nobody")
    known = client.get_model_metadata(stream)
    assert known["inputs"][0]["name"] == tensor and known["outputs"][0]["name"] == "embedding"
    assert version in known["versions"]

    def asked(elements, brings, wants=None, **more):
        brought = triton.InferInput(tensor, [len(elements)], "BYTES")
        brought.set_data_from_numpy(numpy.array(elements, dtype=object), binary_data=brings)
        outputs = None if wants is None else [triton.InferRequestedOutput("embedding", binary_data=wants)]
        answer = client.infer(stream, [brought], model_version=version, outputs=outputs, request_id="7", **more)
        assert answer.get_response()["model_version"] == version and answer.get_response()["id"] == "7"
        return answer.as_numpy("embedding").tolist()

    # A picture's file is no string: in JSON it is base64.
    text = [string.encode() for string in strings]
    ways = {
        "bytes": asked(raw, True),
        "json": asked(text, False, False),
        "mixed": asked(raw, True, False),
        "gzip": asked(raw, True, True, request_compression_algorithm="gzip", response_compression_algorithm="gzip"),
        "deflate": asked(text, False, True, request_compression_algorithm="deflate"),
    }
    try:
        client.infer("nobody", [triton.InferInput(tensor, [1], "BYTES").set_data_from_numpy(numpy.array([b"a"], dtype=object))])
    except InferenceServerException as refused:
        assert "nobody" in refused.message(), refused
    else:
        raise AssertionError("a model that is not there has answered")
    client.close()
    return ways


def main():
    question = json.load(sys.stdin)
    if "texts" in question:
        strings, tensor = question["texts"], "texts"
        raw = [text.encode() for text in strings]
    else:
        raw, tensor = [open(path, "rb").read() for path in question["pictures"]], "images"
        strings = ["data:image/png;base64," + base64.b64encode(file).decode() for file in raw]
    answers = {}
    for client in [openai, langchain_openai, huggingface_hub, tritonclient]:
        try:
            named = (question["url"], question["stream"], question["generation"])
            answers[client.__name__] = client(*named, strings, raw=raw, tensor=tensor)
        except ModuleNotFoundError as absent:
            answers[client.__name__] = str(absent)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
