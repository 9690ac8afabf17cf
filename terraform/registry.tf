resource "google_artifact_registry_repository" "images" {
  count = var.create_repository ? 1 : 0

  project       = var.project
  location      = var.region
  repository_id = var.name
  description   = "Images of Portcullis"
  format        = "DOCKER"
  labels        = var.labels

  # KEEP wins over DELETE, so the newest stay however old they are.
  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "7776000s" # 90 days
    }
  }

  depends_on = [google_project_service.apis]
}
