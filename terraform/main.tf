# The names and addresses that everything else is built from.

data "google_project" "gateway" {
  project_id = var.project
}

locals {
  # Cloud Run gives every service this address besides the one with random letters. It is known before the first
  # deployment, so the redirect URI can be registered, and everything made, in one go.
  run_url = "https://${var.name}-${data.google_project.gateway.number}.${var.region}.run.app"

  public_url = coalesce(var.public_url, var.domain == null ? local.run_url : "https://${var.domain}")

  # Pub/Sub always calls the address of Cloud Run, which needs no certificate or DNS of ours. The audience is no
  # public_url, so a push token can never pass as the token of a program.
  push_url      = "${local.run_url}/.portcullis/playback"
  push_audience = local.push_url

  config_folder = "/etc/portcullis"
  config_name   = "portcullis.yaml"
}
