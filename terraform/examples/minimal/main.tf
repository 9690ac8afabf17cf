# A private service and the gateway in front of it. The service here is Google's sample; put your own in its place, or
# delete it and name one that exists.

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

variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of everything."
  type        = string
  default     = "europe-west1"
}

variable "client_id" {
  description = "OAuth client of the sign-in."
  type        = string
}

variable "authorized_domain" {
  description = "Everybody with an e-mail address of this domain is let in."
  type        = string
}

variable "image" {
  description = "Image of the gateway, by digest; null on the first apply, which makes the repository for it."
  type        = string
  default     = null
}

# The module enables what it needs itself; the sample service needs this before.
resource "google_project_service" "run" {
  service            = "run.googleapis.com"
  disable_on_destroy = false
}

resource "google_cloud_run_v2_service" "app" {
  name                = "app"
  location            = var.region
  deletion_protection = false

  template {
    containers {
      image = "us-docker.pkg.dev/cloudrun/container/hello"
    }
  }

  depends_on = [google_project_service.run]
}

module "portcullis" {
  source = "../.."

  project     = var.project
  region      = var.region
  client_id   = var.client_id
  image       = var.image
  config      = file("${path.module}/portcullis.yaml")
  environment = { AUTHORIZED_DOMAIN = var.authorized_domain }

  upstreams = {
    app = { service = google_cloud_run_v2_service.app.name }
  }
}

output "url" {
  description = "Open this."
  value       = module.portcullis.url
}

output "redirect_uri" {
  description = "Register this at the OAuth client."
  value       = module.portcullis.redirect_uri
}

output "image_repository" {
  description = "Push the image there."
  value       = module.portcullis.image_repository
}

output "next_steps" {
  description = "What is left to do by hand."
  value       = module.portcullis.next_steps
}
