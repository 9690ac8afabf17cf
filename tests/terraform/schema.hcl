# What the Google provider 7.45 knows of the types that terraform/ uses, after its documentation: a stand-in for
# `terraform validate`, which wants the provider itself. Only what is of use here is listed. A nested block has a block of
# its own; `required` may name blocks too.

# What is no string, wherever it occurs, and the blocks that may be repeated: for the stand-in of the provider.
types {
  bool = [
    "cleanup_policy_dry_run", "cpu_idle", "default_uri_disabled", "deletion_protection", "disable_dependent_services",
    "disable_on_destroy", "disabled", "enable_exactly_once_delivery", "enable_message_ordering", "enabled", "force_override",
    "health_check_disabled", "iap_enabled", "immutable_tags", "invoker_iam_disabled", "retain_acked_messages",
    "session_affinity", "startup_cpu_boost", "write_metadata",
  ]
  number = [
    "ack_deadline_seconds", "container_port", "default_mode", "failure_threshold", "initial_delay_seconds", "keep_count",
    "max_delivery_attempts", "max_instance_count", "max_instance_request_concurrency", "min_instance_count", "percent",
    "period_seconds", "port", "secret_data_wo_version", "timeout_seconds",
  ]
  map  = ["annotations", "attributes", "labels", "limits"]
  list = ["args", "command", "custom_audiences", "depends_on", "package_name_prefixes", "tag_prefixes", "tags", "urls", "version_name_prefixes"]
  many = ["cleanup_policies", "containers", "env", "items", "network_interfaces", "replicas", "traffic", "volume_mounts", "volumes"]
}

data "google_project" {
  optional = ["project_id"]
  exported = ["number", "name", "id"]
}

resource "google_project_service" {
  required = ["service"]
  optional = ["project", "disable_on_destroy", "disable_dependent_services"]
  exported = ["id"]
}

resource "google_artifact_registry_repository" {
  required = ["repository_id", "format"]
  optional = ["project", "location", "description", "labels", "kms_key_name", "mode", "cleanup_policy_dry_run"]
  exported = ["id", "name", "create_time", "update_time"]

  docker_config {
    optional = ["immutable_tags"]
  }

  cleanup_policies {
    required = ["id"]
    optional = ["action"]

    condition {
      optional = ["tag_state", "tag_prefixes", "version_name_prefixes", "package_name_prefixes", "older_than", "newer_than"]
    }

    most_recent_versions {
      optional = ["package_name_prefixes", "keep_count"]
    }
  }
}

resource "google_service_account" {
  required = ["account_id"]
  optional = ["project", "display_name", "description", "disabled"]
  exported = ["id", "email", "member", "name", "unique_id"]
}

resource "google_service_account_iam_member" {
  required = ["service_account_id", "role", "member"]
  exported = ["id", "etag"]
}

resource "google_secret_manager_secret" {
  required = ["secret_id", "replication"]
  optional = ["project", "labels", "annotations", "version_destroy_ttl", "deletion_protection"]
  exported = ["id", "name", "create_time"]

  replication {
    auto {
      customer_managed_encryption {
        required = ["kms_key_name"]
      }
    }

    user_managed {
      required = ["replicas"]

      replicas {
        required = ["location"]
      }
    }
  }
}

resource "google_secret_manager_secret_version" {
  required = ["secret"]
  optional = ["secret_data", "secret_data_wo", "secret_data_wo_version", "enabled", "deletion_policy"]
  exported = ["id", "name", "version", "create_time", "destroy_time"]
}

resource "google_secret_manager_secret_iam_member" {
  required = ["secret_id", "role", "member"]
  optional = ["project"]
  exported = ["id", "etag"]
}

resource "google_pubsub_topic" {
  required = ["name"]
  optional = ["project", "labels", "kms_key_name", "message_retention_duration"]
  exported = ["id"]
}

resource "google_pubsub_topic_iam_member" {
  required = ["topic", "role", "member"]
  optional = ["project"]
  exported = ["id", "etag"]
}

resource "google_pubsub_subscription" {
  required = ["name", "topic"]
  optional = [
    "project", "labels", "ack_deadline_seconds", "message_retention_duration", "retain_acked_messages",
    "enable_message_ordering", "enable_exactly_once_delivery", "filter",
  ]
  exported = ["id"]

  push_config {
    required = ["push_endpoint"]
    optional = ["attributes"]

    oidc_token {
      required = ["service_account_email"]
      optional = ["audience"]
    }

    no_wrapper {
      required = ["write_metadata"]
    }
  }

  retry_policy {
    optional = ["minimum_backoff", "maximum_backoff"]
  }

  dead_letter_policy {
    optional = ["dead_letter_topic", "max_delivery_attempts"]
  }

  expiration_policy {
    required = ["ttl"]
  }
}

resource "google_pubsub_subscription_iam_member" {
  required = ["subscription", "role", "member"]
  optional = ["project"]
  exported = ["id", "etag"]
}

resource "google_cloud_run_domain_mapping" {
  required = ["name", "location", "spec", "metadata"]
  optional = ["project"]
  exported = ["id", "status"]

  metadata {
    required = ["namespace"]
    optional = ["labels", "annotations"]
  }

  spec {
    required = ["route_name"]
    optional = ["force_override", "certificate_mode"]
  }
}

resource "google_cloud_run_v2_service_iam_member" {
  required = ["name", "role", "member"]
  optional = ["project", "location"]
  exported = ["id", "etag"]
}

resource "google_cloud_run_v2_service" {
  required = ["name", "location", "template"]
  optional = [
    "project", "description", "labels", "annotations", "client", "client_version", "ingress", "launch_stage",
    "custom_audiences", "invoker_iam_disabled", "default_uri_disabled", "deletion_protection", "iap_enabled",
  ]
  exported = ["id", "uri", "urls", "latest_ready_revision", "latest_created_revision"]

  traffic {
    optional = ["type", "revision", "percent", "tag"]
  }

  template {
    optional = [
      "revision", "labels", "annotations", "service_account", "timeout", "max_instance_request_concurrency",
      "execution_environment", "session_affinity", "encryption_key", "health_check_disabled",
    ]

    scaling {
      optional = ["min_instance_count", "max_instance_count"]
    }

    vpc_access {
      optional = ["connector", "egress"]

      network_interfaces {
        optional = ["network", "subnetwork", "tags"]
      }
    }

    volumes {
      required = ["name"]

      secret {
        required = ["secret"]
        optional = ["default_mode"]

        items {
          required = ["path"]
          optional = ["version", "mode"]
        }
      }
    }

    containers {
      required = ["image"]
      optional = ["name", "command", "args", "working_dir", "depends_on", "base_image_uri"]

      ports {
        optional = ["name", "container_port"]
      }

      env {
        required = ["name"]
        optional = ["value"]
      }

      resources {
        optional = ["limits", "cpu_idle", "startup_cpu_boost"]
      }

      volume_mounts {
        required = ["name", "mount_path"]
      }

      startup_probe {
        optional = ["initial_delay_seconds", "timeout_seconds", "period_seconds", "failure_threshold"]

        http_get {
          optional = ["path", "port"]
        }
      }

      liveness_probe {
        optional = ["initial_delay_seconds", "timeout_seconds", "period_seconds", "failure_threshold"]

        http_get {
          optional = ["path", "port"]
        }
      }
    }
  }
}
