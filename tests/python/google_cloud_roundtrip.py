"""Google's own clients of Pub/Sub and Secret Manager against the stand-in, over REST. The first argument is the
stand-in's origin. A secret `projects/example-project/secrets/s` with the versions `one` and `two` is there already.

It shows that the stand-in speaks Google's formats as Google's clients read them; it tests nothing of the gateway.
"""

import os
import sys

ORIGIN = sys.argv[1].rstrip("/")
HOST = ORIGIN.removeprefix("http://")
# Read once, when the library is imported.
os.environ["GCE_METADATA_HOST"] = HOST
os.environ["GCE_METADATA_IP"] = HOST
os.environ["NO_PROXY"] = "*"
for name in ("GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK", "GCE_METADATA_ROOT", "PUBSUB_EMULATOR_HOST"):
    os.environ.pop(name, None)

from google.api_core import exceptions
from google.auth import compute_engine
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.secretmanager_v1 import SecretManagerServiceClient as Secrets
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.types import DeadLetterPolicy, PubsubMessage, PushConfig, RetryPolicy

PROJECT = "projects/example-project"
TOPIC, DEAD = PROJECT + "/topics/t", PROJECT + "/topics/dead"
PULL, PUSH = PROJECT + "/subscriptions/pull", PROJECT + "/subscriptions/push"


def client(kind, credentials):
    transport = kind.get_transport_class("rest")
    return kind(transport=transport(host=HOST, url_scheme="http", credentials=credentials))


def fails(error, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except error as raised:
        return raised
    raise AssertionError(f"{call} did not fail with {error}")


credentials = compute_engine.Credentials()
publisher, subscriber = client(PublisherClient, credentials), client(SubscriberClient, credentials)

for topic in (TOPIC, DEAD):
    assert publisher.create_topic(name=topic).name == topic
fails(exceptions.Conflict, publisher.create_topic, name=TOPIC)
made = subscriber.create_subscription(
    request={
        "name": PULL,
        "topic": TOPIC,
        "ack_deadline_seconds": 30,
        "enable_message_ordering": True,
        "retry_policy": RetryPolicy(minimum_backoff={"seconds": 0}, maximum_backoff={"seconds": 1}),
        "dead_letter_policy": DeadLetterPolicy(dead_letter_topic=DEAD, max_delivery_attempts=5),
    }
)
assert (made.name, made.topic, made.ack_deadline_seconds) == (PULL, TOPIC, 30), made
assert made.enable_message_ordering and made.dead_letter_policy.max_delivery_attempts == 5, made
push = PushConfig(
    push_endpoint=ORIGIN + "/nowhere",
    oidc_token={"service_account_email": "a@example.iam.gserviceaccount.com", "audience": "here"},
)
subscriber.create_subscription(name=PUSH, topic=DEAD, push_config=push)
assert subscriber.get_subscription(subscription=PUSH).push_config.oidc_token.audience == "here"

messages = [
    PubsubMessage(data=b"\x00\xff", attributes={"a": "b"}, ordering_key="k"),
    PubsubMessage(data=b"second", ordering_key="k"),
]
ids = publisher.publish(topic=TOPIC, messages=messages).message_ids
assert len(ids) == 2 and all(id.isdigit() for id in ids), ids
received = subscriber.pull(subscription=PULL, max_messages=10).received_messages
assert [it.message.message_id for it in received] == list(ids), received
first, second = received
assert (first.message.data, dict(first.message.attributes)) == (b"\x00\xff", {"a": "b"}), first
assert first.delivery_attempt == 1 and first.message.ordering_key == "k", first
assert first.message.publish_time.year >= 2024, first
subscriber.modify_ack_deadline(subscription=PULL, ack_ids=[first.ack_id], ack_deadline_seconds=0)
again = subscriber.pull(subscription=PULL, max_messages=10).received_messages
assert [it.delivery_attempt for it in again] == [2, 2], again
subscriber.acknowledge(subscription=PULL, ack_ids=[it.ack_id for it in again])

fails(exceptions.NotFound, publisher.publish, topic=PROJECT + "/topics/none", messages=messages)
fails(exceptions.NotFound, subscriber.pull, subscription=PROJECT + "/subscriptions/none", max_messages=1)
fails(exceptions.BadRequest, publisher.publish, topic=TOPIC, messages=[PubsubMessage()])
fails(exceptions.BadRequest, subscriber.pull, subscription=PUSH, max_messages=1)
stranger = client(PublisherClient, AnonymousCredentials())
# The answer 401 makes the library want another token.
fails(GoogleAuthError, stranger.publish, topic=TOPIC, messages=messages)
subscriber.delete_subscription(subscription=PUSH)
fails(exceptions.NotFound, subscriber.get_subscription, subscription=PUSH)

secrets = client(Secrets, credentials)
for version, number, data in (("latest", 2, b"two"), ("1", 1, b"one")):
    answer = secrets.access_secret_version(name=f"{PROJECT}/secrets/s/versions/{version}")
    assert answer.name == f"projects/123456789012/secrets/s/versions/{number}", answer.name
    assert answer.payload.data == data and answer.payload.data_crc32c > 0, answer
fails(exceptions.NotFound, secrets.access_secret_version, name=PROJECT + "/secrets/none/versions/latest")
fails(exceptions.NotFound, secrets.access_secret_version, name=PROJECT + "/secrets/s/versions/3")

print("google-cloud-pubsub and google-cloud-secret-manager are content")
