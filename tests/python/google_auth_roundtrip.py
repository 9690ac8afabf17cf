"""Google's own Python library against the stand-in: fetches ID tokens from its metadata server and verifies them
against its keys, in both published forms. The first argument is the stand-in's origin.

It shows that the stand-in speaks Google's formats as Google's client reads them; it tests nothing of the gateway.
"""

import os
import sys

ORIGIN = sys.argv[1].rstrip("/")
HOST = ORIGIN.removeprefix("http://")
# Read once, when the library is imported.
os.environ["GCE_METADATA_HOST"] = HOST
os.environ["GCE_METADATA_IP"] = HOST
for name in ("GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK", "GCE_METADATA_ROOT"):
    os.environ.pop(name, None)

from google.auth import compute_engine, jwt
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request
from google.oauth2 import id_token

import requests

AUDIENCE = "https://service-abc-ew.a.run.app"
GATEWAY = "gateway@example-project.iam.gserviceaccount.com"
FORMS = (ORIGIN + "/oauth2/v1/certs", ORIGIN + "/oauth2/v3/certs")

session = requests.Session()
session.trust_env = False  # no proxy between this machine and itself
request = Request(session)


def check(claims):
    assert claims["iss"] == "https://accounts.google.com", claims
    assert claims["aud"] == AUDIENCE, claims
    assert claims["azp"] == claims["sub"] and claims["sub"].isdigit(), claims
    assert claims["email"] == GATEWAY, claims
    assert claims["email_verified"] is True, claims
    assert claims["exp"] - claims["iat"] == 3600, claims


def refused(token, audience, certs_url):
    try:
        id_token.verify_token(token, request, audience=audience, certs_url=certs_url)
    except Exception:
        return True
    return False


assert _metadata.ping(request), "the root does not look like a metadata server"
assert _metadata.get_project_id(request) == "example-project"
assert _metadata.get_universe_domain(request) == "googleapis.com"
account = _metadata.get_service_account_info(request)
assert account["email"] == GATEWAY and account["aliases"] == ["default"], account
access_token, _ = _metadata.get_service_account_token(request)
assert access_token.startswith("ya29.")

credentials = compute_engine.IDTokenCredentials(
    request, target_audience=AUDIENCE, use_metadata_identity_endpoint=True
)
credentials.refresh(request)
for token in (id_token.fetch_id_token(request, AUDIENCE), credentials.token):
    check(jwt.decode(token, verify=False))
    head, signature = token.rsplit(".", 1)
    # Not the last character: some of its bits are padding.
    tampered = head + "." + ("A" if signature[0] != "A" else "B") + signature[1:]
    for certs_url in FORMS:
        check(id_token.verify_token(token, request, audience=AUDIENCE, certs_url=certs_url))
        assert refused(tampered, AUDIENCE, certs_url), "a tampered signature passed"
        assert refused(token, "https://elsewhere.example", certs_url), "a foreign audience passed"

print("google-auth is content")
