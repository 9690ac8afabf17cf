output "url" {
  description = "How callers name the gateway."
  value       = local.public_url
}

output "run_url" {
  description = "The gateway's address at Cloud Run, whatever else leads to it."
  value       = local.run_url
}

output "redirect_uri" {
  description = "Redirect URI to register at the OAuth client, exactly."
  value       = "${local.public_url}/.portcullis/callback"
}

output "gateway_account" {
  description = "E-mail address of the gateway's service account."
  value       = google_service_account.gateway.email
}

output "push_account" {
  description = "E-mail address of the account that Pub/Sub pushes as; null without a log."
  value       = one(google_service_account.push[*].email)
}

output "push_audience" {
  description = "Audience of Pub/Sub's tokens; null without a log."
  value       = var.wal == null ? null : local.push_audience
}

output "topic" {
  description = "Topic of the write-ahead log; null without one."
  value       = one(google_pubsub_topic.wal[*].id)
}

output "dead_letter_subscription" {
  description = "Subscription that keeps what could not be delivered; null without a log."
  value       = one(google_pubsub_subscription.dead[*].id)
}

output "upstream_urls" {
  description = "Addresses of the services behind the gateway, which are also the audiences of its tokens."
  value       = local.upstream_urls
}

output "secrets" {
  description = "The secrets whose values are added by hand: name in the configuration, and reference."
  value       = local.secret_versions
}

output "image_repository" {
  description = "Where images are pushed to; null where none is made."
  value       = one([for images in google_artifact_registry_repository.images : "${images.location}-docker.pkg.dev/${images.project}/${images.repository_id}/portcullis"])
}

output "dns_records" {
  description = "DNS records that the domain needs; empty without one."
  value       = flatten([for mapping in google_cloud_run_domain_mapping.gateway : [for status in mapping.status : status.resource_records]])
}

output "next_steps" {
  description = "What is left to do by hand."
  value = join("\n", concat(
    ["Register at the OAuth client ${var.client_id} the redirect URI ${local.public_url}/.portcullis/callback"],
    [
      for secret in google_secret_manager_secret.secrets :
      "Add a value, as step 6 of the README says: gcloud secrets versions add ${secret.secret_id} --project=${var.project} --data-file=-"
    ],
    var.image == null ? ["Build and push an image, set image to its digest, and apply again"] : [],
    var.domain == null ? [] : ["Add the records of the output dns_records to the DNS of ${var.domain}"],
    ["Check: curl -i ${local.run_url}/.portcullis/health"],
  ))
}
