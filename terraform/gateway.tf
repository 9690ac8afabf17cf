locals {
  # The configuration takes these with ${NAME}.
  environment = merge(
    {
      PORTCULLIS_CONFIG    = "${local.config_folder}/${local.config_name}"
      PUBLIC_URL           = local.public_url
      GOOGLE_CLIENT_ID     = var.client_id
      GOOGLE_CLOUD_PROJECT = var.project
    },
    { for name, url in local.upstream_urls : "UPSTREAM_${upper(replace(name, "-", "_"))}_URL" => url },
    # The only one needs no name.
    { for name, url in local.upstream_urls : "UPSTREAM_URL" => url if length(local.upstream_urls) == 1 },
    { for topic in google_pubsub_topic.wal : "WAL_TOPIC" => topic.id },
    { for topic in google_pubsub_topic.dead : "WAL_DEAD_LETTER_TOPIC" => topic.id },
    { for account in google_service_account.push : "WAL_PUSH_ACCOUNT" => account.email },
    { for account in google_service_account.push : "WAL_PUSH_AUDIENCE" => local.push_audience },
    { for name, secret in local.secret_versions : "SECRET_${upper(replace(name, "-", "_"))}" => secret },
    var.environment,
  )

  secret_versions = {
    for name, secret in google_secret_manager_secret.secrets : name => "${secret.id}/versions/latest"
  }
}

resource "google_cloud_run_v2_service" "gateway" {
  count = var.image == null ? 0 : 1

  project              = var.project
  name                 = var.name
  location             = var.region
  description          = "Portcullis: decides who reaches the services behind it"
  labels               = var.labels
  ingress              = var.ingress
  invoker_iam_disabled = var.public_access == "no_iam_check"
  deletion_protection  = var.deletion_protection

  template {
    service_account                  = google_service_account.gateway.email
    labels                           = var.labels
    timeout                          = "${var.timeout_seconds}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    volumes {
      name = "config"

      secret {
        secret = google_secret_manager_secret.config.secret_id

        items {
          path = local.config_name
          # This version and no other: a change of the configuration is a new revision, which takes over once it is
          # healthy, and an old revision keeps the configuration that it was made with.
          version = google_secret_manager_secret_version.config.version
        }
      }
    }

    containers {
      name  = "portcullis"
      image = var.image

      ports {
        name           = var.http2 ? "h2c" : "http1"
        container_port = 8080
      }

      dynamic "env" {
        for_each = local.environment
        content {
          name  = env.key
          value = env.value
        }
      }

      volume_mounts {
        name       = "config"
        mount_path = local.config_folder
      }

      resources {
        limits            = { cpu = var.cpu, memory = var.memory }
        cpu_idle          = var.cpu_idle
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 2
        timeout_seconds   = 1
        failure_threshold = 30

        http_get {
          path = "/.portcullis/health"
        }
      }

      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3

        http_get {
          path = "/.portcullis/health"
        }
      }
    }

    dynamic "vpc_access" {
      for_each = var.vpc == null ? [] : [var.vpc]
      content {
        egress = vpc_access.value.egress

        network_interfaces {
          network    = vpc_access.value.network
          subnetwork = vpc_access.value.subnetwork
        }
      }
    }
  }

  traffic {
    type     = var.revision == null ? "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" : "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    revision = var.revision
    percent  = 100
  }

  lifecycle {
    # Written by whichever tool looked at the service last.
    ignore_changes = [client, client_version]
  }

  # A revision is healthy only if the account may read what it mounts.
  depends_on = [
    google_secret_manager_secret_iam_member.config,
    google_secret_manager_secret_iam_member.secrets,
    google_cloud_run_v2_service_iam_member.upstream,
    google_pubsub_topic_iam_member.gateway_publishes,
    google_pubsub_topic_iam_member.gateway_publishes_dead,
  ]
}

# Everybody may reach the gateway; it does the checking itself. Only where the check of IAM cannot be switched off.
resource "google_cloud_run_v2_service_iam_member" "gateway_everybody" {
  count = var.public_access == "all_users" && var.image != null ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.gateway[0].name
  role     = "roles/run.invoker"
  member   = "allUsers"
}
