# Two services under a domain of one's own, Zapier, and Slack webhooks that are kept until the service has taken them.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.45"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
}

module "portcullis" {
  source = "../.."

  project   = var.project
  region    = var.region
  client_id = var.client_id
  image     = var.image
  domain    = var.domain
  config    = file("${path.module}/portcullis.yaml")

  environment = {
    AUTHORIZED_DOMAIN = var.authorized_domain
    ZAPIER_CLIENT_ID  = var.zapier_client_id
  }

  # Both exist already. UPSTREAM_CAMUNDA_URL and UPSTREAM_REPORTS_URL are in the configuration.
  upstreams = {
    camunda = { service = "camunda" }
    reports = { service = "reports", region = "europe-north1" }
  }

  # The services have a minute for an answer; Pub/Sub waits for two before it tries again.
  wal     = { ack_deadline_seconds = 120 }
  secrets = ["slack"]

  # One instance is always there: Slack waits for three seconds, and no longer.
  min_instances = 1
  max_instances = 20

  labels = { team = "platform" }
}
