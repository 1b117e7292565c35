"""gcp-storage-emulator, with the generations of objects: python -m tests.bucket_emulator ARGS, those of gcp-storage-emulator

TensorStore reads an object's generation with it, and writes on the condition that it is still the same; the emulator has
neither (version 2026.7.19).
"""

import functools
import http
import sys
import threading

from gcp_storage_emulator import server
from gcp_storage_emulator.__main__ import main
from gcp_storage_emulator.exceptions import NotFound

_one_at_a_time = threading.Lock()


def with_generations(handler):
    """A handler that obeys ifGenerationMatch and ifGenerationNotMatch, and tells the generation of what it sends."""

    @functools.wraps(handler)
    def handle(request, response, storage, *arguments, **settings):
        with _one_at_a_time:
            before = generation(request, storage)
            wanted, unwanted = (
                request.query.get(name, [None])[0] for name in ("ifGenerationMatch", "ifGenerationNotMatch")
            )
            if wanted not in (None, before):
                response.status = http.HTTPStatus.PRECONDITION_FAILED
                return
            if unwanted == before:
                response.status = http.HTTPStatus.NOT_MODIFIED
                return
            handler(request, response, storage, *arguments, **settings)
            if request.method == "GET" and before != "0":
                response["x-goog-generation"] = before
                response["x-goog-metageneration"] = "1"

    return handle


def generation(request, storage) -> str:
    """Of the object that a request names; "0" where there is none."""
    parameters = request.params or {}
    name = parameters.get("object_id") or request.query.get("name", [""])[0]
    try:
        return storage.get_file_obj(parameters.get("bucket_name"), name)["generation"]
    except (NotFound, KeyError):
        return "0"


for _, handlers in server.HANDLERS:
    for method, handler in handlers.items():
        handlers[method] = with_generations(handler)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
