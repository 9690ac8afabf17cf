variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of the gateway; one that offers domain mappings."
  type        = string
  default     = "europe-west1"
}

variable "domain" {
  description = "Host name of the gateway, verified in Google's Search Console for the account that applies."
  type        = string
}

variable "client_id" {
  description = "OAuth client of the sign-in."
  type        = string
}

variable "zapier_client_id" {
  description = "OAuth client that Zapier signs its users in with."
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
