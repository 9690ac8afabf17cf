"""Requests signed by the vendors' own libraries, one JSON object a line, for the gateway to verify.

The first argument is the signing secret of Slack and Stripe, the second that of Standard Webhooks. Bodies are Base64, since
they need not be text.
"""

import base64
import datetime
import json
import sys
import time

import slack_sdk.signature
import standardwebhooks
import stripe

SECRET, STANDARD = sys.argv[1:3]
NOW = int(time.time())


def show(sender, name, good, headers, body):
    data = body if isinstance(body, bytes) else body.encode()
    line = {"sender": sender, "name": name, "good": good, "headers": headers, "body": base64.b64encode(data).decode()}
    print(json.dumps(line))


def slack(name, body, kind, at=NOW, secret=SECRET, good=True):
    signature = slack_sdk.signature.SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
    headers = {"X-Slack-Request-Timestamp": str(at), "X-Slack-Signature": signature, "Content-Type": kind}
    # The library's own verdict, so that both agree.
    verdict = slack_sdk.signature.SignatureVerifier(SECRET).is_valid_request(body, headers)
    assert verdict == good, name
    show("slack", name, good, headers, body)


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
slack("a command", "token=t&team_id=T1&command=%2Fdeploy&text=prod+%F0%9F%9A%80&user_id=U2", FORM)
slack("an event", json.dumps({"type": "event_callback", "event_id": "Ev1", "event": {"type": "message"}}), JSON)
slack("an interaction", "payload=%7B%22type%22%3A%22block_actions%22%7D", FORM)
slack("text beyond ASCII", "text=Grüße, 世界".encode(), FORM)
slack("nothing", "", FORM)
slack("an hour old", "text=old", FORM, at=NOW - 3600, good=False)
slack("another secret", "text=other", FORM, secret=SECRET + "x", good=False)


def webhook(name, body, at=NOW, secret=STANDARD, good=True, sign_as=None):
    webhook_id = "msg_" + name.replace(" ", "_")
    when = datetime.datetime.fromtimestamp(at, tz=datetime.timezone.utc)
    signature = standardwebhooks.Webhook(secret).sign(sign_as or webhook_id, when, body)
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(at), "webhook-signature": signature}
    try:
        standardwebhooks.Webhook(STANDARD).verify(body, headers)
        verdict = True
    except standardwebhooks.webhooks.WebhookVerificationError:
        verdict = False
    assert verdict == good, name
    show("standard", name, good, headers, body)


OTHER = "whsec_" + base64.b64encode(b"another secret of enough bytes").decode()
webhook("a message", '{"type":"user.created","data":{"name":"Ada"}}')
webhook("an array", "[1, 2, 3]")
webhook("an hour old", "{}", at=NOW - 3600, good=False)
webhook("an hour ahead", "{}", at=NOW + 3600, good=False)
webhook("another secret", "{}", secret=OTHER, good=False)
webhook("another id", "{}", sign_as="msg_other", good=False)
# While the secret is changed, both signatures are sent.
MOMENT = datetime.datetime.fromtimestamp(NOW, tz=datetime.timezone.utc)
BOTH = [standardwebhooks.Webhook(secret).sign("msg_both", MOMENT, "{}") for secret in (OTHER, STANDARD)]
HEADERS = {"webhook-id": "msg_both", "webhook-timestamp": str(NOW), "webhook-signature": " ".join(BOTH)}
standardwebhooks.Webhook(STANDARD).verify("{}", HEADERS)
show("standard", "two signatures", True, HEADERS, "{}")


def payment(name, body, at=NOW, secret=SECRET, good=True, extra=""):
    signature = stripe.WebhookSignature._compute_signature(f"{at}.{body}", secret)
    header = f"t={at},v1={signature}{extra}"
    try:
        stripe.WebhookSignature.verify_header(body, header, SECRET, tolerance=300)
        verdict = True
    except stripe.SignatureVerificationError:
        verdict = False
    assert verdict == good, name
    show("stripe", name, good, {"Stripe-Signature": header, "Content-Type": JSON}, body)


payment("an event", '{"id": "evt_1", "object": "event", "type": "charge.succeeded"}')
payment("an old scheme beside it", '{"id": "evt_2", "object": "event"}', extra=",v0=" + "0" * 64)
payment("a wrong signature beside it", '{"id": "evt_3", "object": "event"}', extra=",v1=" + "0" * 64)
payment("an hour old", '{"id": "evt_4"}', at=NOW - 3600, good=False)
payment("another secret", '{"id": "evt_5"}', secret=SECRET + "x", good=False)
