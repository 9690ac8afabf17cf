# What the gateway is. Its rights are bound where the things are: upstreams.tf, pubsub.tf, secrets.tf. It has none on
# the project.
resource "google_service_account" "gateway" {
  project      = var.project
  account_id   = var.name
  display_name = "Portcullis gateway"
  description  = "Calls the services behind the gateway, publishes to its log, reads its secrets"

  depends_on = [google_project_service.apis]
}

# What Pub/Sub pushes as. It has no rights anywhere, and only the playback endpoint accepts its tokens.
resource "google_service_account" "push" {
  count = var.wal == null ? 0 : 1

  project      = var.project
  account_id   = "${var.name}-push"
  display_name = "Portcullis playback"
  description  = "Pub/Sub signs its pushes to the gateway's playback endpoint as this account"

  depends_on = [google_project_service.apis]
}

# Pub/Sub's own agent may sign as that account, and as no other.
resource "google_service_account_iam_member" "pubsub_signs_as_push" {
  count = var.wal == null ? 0 : 1

  service_account_id = google_service_account.push[0].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent

  # The agent appears with the project's first topic at the latest.
  depends_on = [google_pubsub_topic.wal]
}
