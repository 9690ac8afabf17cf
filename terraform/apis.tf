# They stay enabled when this module is destroyed: others in the project may need them.

resource "google_project_service" "apis" {
  for_each = toset(concat(
    [
      "artifactregistry.googleapis.com",
      "iam.googleapis.com",
      "run.googleapis.com",
      "secretmanager.googleapis.com",
    ],
    var.wal == null ? [] : ["pubsub.googleapis.com"],
  ))

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}
