# The configuration holds no secret. Secret Manager is the simple way to put a file into a container of Cloud Run.
resource "google_secret_manager_secret" "config" {
  project   = var.project
  secret_id = "${var.name}-config"
  labels    = var.labels

  replication {
    dynamic "auto" {
      for_each = length(var.secret_locations) == 0 ? [true] : []
      content {}
    }

    dynamic "user_managed" {
      for_each = length(var.secret_locations) == 0 ? [] : [true]
      content {
        dynamic "replicas" {
          for_each = var.secret_locations
          content {
            location = replicas.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_version" "config" {
  secret = google_secret_manager_secret.config.id

  # Write-only: neither the state nor a plan file holds the text. Terraform sees a change by the number, which is
  # the beginning of the text's hash.
  secret_data_wo         = var.config
  secret_data_wo_version = parseint(substr(sha256(var.config), 0, 7), 16)

  # Older revisions of the gateway read older versions; without these a roll-back would not start.
  deletion_policy = "ABANDON"

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_secret_manager_secret_iam_member" "config" {
  project   = var.project
  secret_id = google_secret_manager_secret.config.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.gateway.member
}

# Real secrets, such as signing keys of webhooks: the shells are made here, the values are put in by hand, so that no
# state, plan or variable ever holds one.
resource "google_secret_manager_secret" "secrets" {
  for_each = var.secrets

  project   = var.project
  secret_id = "${var.name}-${each.value}"
  labels    = var.labels

  replication {
    dynamic "auto" {
      for_each = length(var.secret_locations) == 0 ? [true] : []
      content {}
    }

    dynamic "user_managed" {
      for_each = length(var.secret_locations) == 0 ? [] : [true]
      content {
        dynamic "replicas" {
          for_each = var.secret_locations
          content {
            location = replicas.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_secret_manager_secret_iam_member" "secrets" {
  for_each = var.secrets

  project   = var.project
  secret_id = google_secret_manager_secret.secrets[each.value].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.gateway.member
}
