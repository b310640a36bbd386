"""Ask a CogACT service for an action; a robot needs no more than Python and `next_action`.

python examples/cogact_client.py http://HOST:PORT PICTURE.png '{"task_description": "open it"}'
"""

import json
import sys
import urllib.request
from pathlib import Path


def part(name: str, content: bytes) -> bytes:
    """A file of a form."""
    head = f'--PART\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def next_action(url: str, picture: bytes, told: str) -> list[float]:
    """The action for a picture (the bytes of a PNG or JPEG file) and what is told as JSON."""
    form = part("json", told.encode()) + part("image", picture) + b"--PART--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=PART"}
    request = urllib.request.Request(f"{url}/api/inference", form, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [float(number) for number in json.load(answer)]


if __name__ == "__main__":
    url, file, told = sys.argv[1:]
    print("action", next_action(url, Path(file).read_bytes(), told))
