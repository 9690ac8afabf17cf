# The write-ahead log: webhooks are published, and Pub/Sub pushes them back to the gateway until the service behind it
# has taken them.

locals {
  wal_count    = var.wal == null ? 0 : 1
  pubsub_agent = "serviceAccount:service-${data.google_project.gateway.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "wal" {
  count = local.wal_count

  project                    = var.project
  name                       = "${var.name}-wal"
  labels                     = var.labels
  message_retention_duration = "${var.wal.retention_seconds}s"

  depends_on = [google_project_service.apis]
}

resource "google_pubsub_topic" "dead" {
  count = local.wal_count

  project = var.project
  name    = "${var.name}-wal-dead"
  labels  = var.labels

  depends_on = [google_project_service.apis]
}

# Without a subscription, what is published to a topic is gone.
resource "google_pubsub_subscription" "dead" {
  count = local.wal_count

  project                    = var.project
  name                       = "${var.name}-wal-dead"
  topic                      = google_pubsub_topic.dead[0].id
  labels                     = var.labels
  ack_deadline_seconds       = 60
  message_retention_duration = "2678400s" # 31 days, the longest there is

  expiration_policy {
    ttl = "" # never
  }
}

resource "google_pubsub_subscription" "playback" {
  count = local.wal_count

  project                    = var.project
  name                       = "${var.name}-wal-playback"
  topic                      = google_pubsub_topic.wal[0].id
  labels                     = var.labels
  ack_deadline_seconds       = var.wal.ack_deadline_seconds
  message_retention_duration = "${var.wal.retention_seconds}s"
  enable_message_ordering    = var.wal.ordering

  push_config {
    push_endpoint = local.push_url

    oidc_token {
      service_account_email = google_service_account.push[0].email
      audience              = local.push_audience
    }

    attributes = {
      x-goog-version = "v1"
    }
  }

  retry_policy {
    minimum_backoff = "${var.wal.minimum_backoff_seconds}s"
    maximum_backoff = "${var.wal.maximum_backoff_seconds}s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead[0].id
    max_delivery_attempts = var.wal.max_delivery_attempts
  }

  expiration_policy {
    ttl = "" # never
  }

  depends_on = [
    google_pubsub_topic_iam_member.pubsub_publishes_dead,
    google_service_account_iam_member.pubsub_signs_as_push,
  ]
}

resource "google_pubsub_topic_iam_member" "gateway_publishes" {
  count = local.wal_count

  project = var.project
  topic   = google_pubsub_topic.wal[0].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.gateway.member
}

# What the service refuses for good, the gateway puts there itself; what only ran out of attempts, Pub/Sub does.
resource "google_pubsub_topic_iam_member" "gateway_publishes_dead" {
  count = local.wal_count

  project = var.project
  topic   = google_pubsub_topic.dead[0].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.gateway.member
}

resource "google_pubsub_topic_iam_member" "pubsub_publishes_dead" {
  count = local.wal_count

  project = var.project
  topic   = google_pubsub_topic.dead[0].name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

# To move a message to the dead letters, Pub/Sub's agent has to acknowledge it here.
resource "google_pubsub_subscription_iam_member" "pubsub_acknowledges" {
  count = local.wal_count

  project      = var.project
  subscription = google_pubsub_subscription.playback[0].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}
