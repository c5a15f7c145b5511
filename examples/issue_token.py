#!/usr/bin/env python3
"""Plays an issuer of tokens: keeps a key, publishes its key set, and prints a token (a JWT) for somebody.

    drone-delivery up --routes examples/issuer.yaml
    TOKEN=$(python3 examples/issue_token.py alice .drone-delivery/edge/who.jwks.json)
    curl -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:7080/api/deliveryhistory?ownerId=alice'

Python's standard library and `openssl`. The key lies in `issuer.pem`, in the folder in which it is run.
"""
import base64
import json
import os
import subprocess
import sys
import tempfile
import time

KEY = "issuer.pem"
ROLES = ["customer"]


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.PIPE).stdout


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(text):
    with tempfile.NamedTemporaryFile() as message:
        message.write(text.encode())
        message.flush()
        return openssl("pkeyutl", "-sign", "-rawin", "-inkey", KEY, "-in", message.name)


if len(sys.argv) != 3:
    sys.exit("usage: issue_token.py PRINCIPAL KEY_SET_FILE")
principal, key_set = sys.argv[1:]
if not os.path.exists(KEY):
    openssl("genpkey", "-algorithm", "ed25519", "-out", KEY)
# The last 32 bytes of the public key's DER are the key itself (RFC 8410).
public = openssl("pkey", "-in", KEY, "-pubout", "-outform", "DER")[-32:]
keys = {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one", "x": encoded(public)}]}
with open(key_set + ".new", "w", encoding="ascii") as draft:
    json.dump(keys, draft)
os.rename(key_set + ".new", key_set)

now = int(time.time())
head = {"alg": "EdDSA", "typ": "JWT", "kid": "one"}
claims = {"iss": "https://who.example.com", "aud": "drone-delivery", "sub": principal, "roles": ROLES,
          "nbf": now, "exp": now + 3600}
text = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
print(f"{text}.{encoded(signed(text))}")
