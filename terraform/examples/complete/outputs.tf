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

output "dns_records" {
  description = "Add these to the DNS of the domain."
  value       = module.portcullis.dns_records
}

output "dead_letter_subscription" {
  description = "What could not be delivered waits there."
  value       = module.portcullis.dead_letter_subscription
}

output "next_steps" {
  description = "What is left to do by hand."
  value       = module.portcullis.next_steps
}
