# What every installation says.

variable "project" {
  description = "Id of the Google Cloud project of the gateway."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "The project is named by its id, such as my-project-123, not by its number or its title."
  }
}

variable "region" {
  description = "Region of Cloud Run, the images and the log, such as europe-west1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west1; a zone has a letter more."
  }
}

variable "client_id" {
  description = "OAuth client of the type web application that people sign in with. Its secret is not needed."
  type        = string

  validation {
    condition     = can(regex("^[0-9]+-[a-z0-9]+\\.apps\\.googleusercontent\\.com$", var.client_id))
    error_message = "A client id looks like 1234-abc.apps.googleusercontent.com."
  }
}

variable "config" {
  description = "Text of the gateway's configuration, usually file(\"portcullis.yaml\"). It refers to the variables of the environment with $${NAME}; README.md lists them. No secret belongs into it."
  type        = string

  validation {
    condition     = can(yamldecode(var.config).version) && length(var.config) <= 65536
    error_message = "The configuration is YAML with a version, and at most 64 KiB: see what `portcullis check` says."
  }
}

variable "upstreams" {
  description = "The Cloud Run services behind the gateway, by a name of your choice. Each lets the gateway's account in. Region and project are the gateway's unless said; url only where the service has no address of the form SERVICE-NUMBER.REGION.run.app."
  type = map(object({
    service = string
    region  = optional(string)
    project = optional(string)
    url     = optional(string)
  }))

  validation {
    condition     = alltrue([for name in keys(var.upstreams) : can(regex("^[a-z][a-z0-9-]*$", name))])
    error_message = "Names of upstreams are lower-case letters, digits and hyphens: they become UPSTREAM_NAME_URL."
  }

  validation {
    condition = alltrue([
      for upstream in var.upstreams : upstream.url == null || can(regex("^https://[^/]+$", upstream.url))
    ])
    error_message = "An upstream's url is https and has no path, and no slash at its end."
  }
}

variable "image" {
  description = "Image of the gateway, by digest: REGION-docker.pkg.dev/PROJECT/REPOSITORY/portcullis@sha256:…. Without it all is made but the gateway itself."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image is named by its digest (…@sha256:…): a tag may mean another image tomorrow."
  }
}

# What the gateway is called, and how it is reached.

variable "name" {
  description = "Name of the Cloud Run service, and beginning of the names of all that belongs to it."
  type        = string
  default     = "portcullis"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,23}[a-z0-9]$", var.name))
    error_message = "The name has 6 to 25 lower-case letters, digits and hyphens: service accounts allow no other."
  }
}

variable "domain" {
  description = "Host name of your own, mapped to the service by Cloud Run. It must be verified for the account that applies, and the region must offer domain mappings."
  type        = string
  default     = null
}

variable "public_url" {
  description = "How callers name the gateway, if neither the domain nor Cloud Run's own address: with a load balancer in front."
  type        = string
  default     = null

  validation {
    condition     = var.public_url == null || can(regex("^https://[^/]+$", var.public_url))
    error_message = "The public URL is https and has no path, and no slash at its end."
  }
}

variable "public_access" {
  description = "How Cloud Run lets callers through to the gateway, which does the checking: no_iam_check, all_users (where a policy of the organisation wants the check) or none (only whom you bind yourself)."
  type        = string
  default     = "no_iam_check"

  validation {
    condition     = contains(["no_iam_check", "all_users", "none"], var.public_access)
    error_message = "Public access is no_iam_check, all_users or none."
  }
}

variable "ingress" {
  description = "Networks that the gateway is reached from: INGRESS_TRAFFIC_ALL, INGRESS_TRAFFIC_INTERNAL_ONLY or INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER. Pub/Sub's pushes count as internal."
  type        = string
  default     = "INGRESS_TRAFFIC_ALL"

  validation {
    condition = contains(
      ["INGRESS_TRAFFIC_ALL", "INGRESS_TRAFFIC_INTERNAL_ONLY", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"],
      var.ingress,
    )
    error_message = "Ingress is one of Cloud Run's three words for it."
  }
}

variable "http2" {
  description = "Speak HTTP/2 from end to end (h2c): for gRPC and for bodies of more than 32 MiB. WebSockets need it off."
  type        = bool
  default     = false
}

variable "vpc" {
  description = "Network that the gateway calls out through, for services that take internal traffic only."
  type = object({
    network    = string
    subnetwork = string
    egress     = optional(string, "ALL_TRAFFIC")
  })
  default = null

  validation {
    condition     = var.vpc == null || contains(["ALL_TRAFFIC", "PRIVATE_RANGES_ONLY"], try(var.vpc.egress, ""))
    error_message = "Egress is ALL_TRAFFIC or PRIVATE_RANGES_ONLY."
  }
}

# Webhooks and their log.

variable "wal" {
  description = "The write-ahead log: a Pub/Sub topic that is played back to the gateway. Null makes none; {} takes the defaults. The acknowledgement deadline must exceed the time-outs of the services behind. 100 attempts, the most there are, last for some 16 hours."
  type = object({
    ack_deadline_seconds    = optional(number, 180)
    retention_seconds       = optional(number, 604800)
    minimum_backoff_seconds = optional(number, 10)
    maximum_backoff_seconds = optional(number, 600)
    max_delivery_attempts   = optional(number, 100)
    ordering                = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.wal == null || try(var.wal.ack_deadline_seconds >= 10 && var.wal.ack_deadline_seconds <= 600, false)
    error_message = "The acknowledgement deadline is 10 to 600 seconds."
  }

  validation {
    condition     = var.wal == null || try(var.wal.retention_seconds >= 600 && var.wal.retention_seconds <= 2678400, false)
    error_message = "Messages are kept for 600 to 2678400 seconds (31 days)."
  }

  validation {
    condition = var.wal == null || try(
      var.wal.minimum_backoff_seconds >= 0 &&
      var.wal.minimum_backoff_seconds <= var.wal.maximum_backoff_seconds &&
      var.wal.maximum_backoff_seconds <= 600,
      false,
    )
    error_message = "The pauses between attempts are 0 to 600 seconds, the minimum not above the maximum."
  }

  validation {
    condition     = var.wal == null || try(var.wal.max_delivery_attempts >= 5 && var.wal.max_delivery_attempts <= 100, false)
    error_message = "Pub/Sub takes 5 to 100 delivery attempts."
  }
}

variable "secrets" {
  description = "Names of the secrets that the configuration uses. Each becomes an empty secret NAME-SECRET, whose value you add by hand, and a variable SECRET_… for the configuration."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for name in var.secrets : can(regex("^[a-z][a-z0-9-]*$", name)) && name != "config"])
    error_message = "Names of secrets are lower-case letters, digits and hyphens, and not config."
  }
}

variable "secret_locations" {
  description = "Regions that secrets are kept in, where a policy of the organisation asks for it. Empty: Google chooses."
  type        = list(string)
  default     = []
}

# How it runs.

variable "environment" {
  description = "Further variables for the configuration, such as AUTHORIZED_DOMAIN. No secret belongs into them."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name in keys(var.environment) : can(regex("^[A-Z_][A-Z0-9_]*$", name)) && name != "PORT" && !startswith(name, "K_")
    ])
    error_message = "Names of variables are upper-case letters, digits and underscores; PORT and K_… are Cloud Run's."
  }
}

variable "min_instances" {
  description = "Instances that are kept running. 0 costs nothing without traffic, and the first request after a pause waits for the start."
  type        = number
  default     = 0

  validation {
    condition     = var.min_instances >= 0 && floor(var.min_instances) == var.min_instances
    error_message = "The number of instances is a whole number from 0."
  }
}

variable "max_instances" {
  description = "Most instances at once; a limit to the costs."
  type        = number
  default     = 10

  validation {
    condition     = var.max_instances >= 1 && var.max_instances >= var.min_instances
    error_message = "There must be room for one instance, and for min_instances."
  }
}

variable "concurrency" {
  description = "Requests that one instance serves at once."
  type        = number
  default     = 250

  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 1000
    error_message = "Concurrency is 1 to 1000."
  }
}

variable "cpu" {
  description = "Processors of an instance: 1, 2, 4, 6 or 8."
  type        = string
  default     = "1"

  validation {
    condition     = contains(["1", "2", "4", "6", "8"], var.cpu)
    error_message = "An instance has 1, 2, 4, 6 or 8 processors; less than one would allow one request at a time."
  }
}

variable "memory" {
  description = "Memory of an instance; the second-generation environment wants 512Mi or more."
  type        = string
  default     = "512Mi"

  validation {
    condition     = can(regex("^[0-9]+(Mi|Gi)$", var.memory))
    error_message = "Memory is written like 512Mi or 1Gi."
  }
}

variable "cpu_idle" {
  description = "Take the processor away between requests, and pay for requests only. The gateway needs none then."
  type        = bool
  default     = true
}

variable "timeout_seconds" {
  description = "Longest request, WebSockets and streams included."
  type        = number
  default     = 300

  validation {
    condition     = var.timeout_seconds >= 1 && var.timeout_seconds <= 3600
    error_message = "Cloud Run takes 1 to 3600 seconds."
  }
}

variable "revision" {
  description = "Revision that takes all requests, to go back to an older one. Null: the newest."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Refuse to delete the gateway. Set to false, and apply, before destroying."
  type        = bool
  default     = true
}

variable "create_repository" {
  description = "Make a repository for images. Off where the image comes from elsewhere."
  type        = bool
  default     = true
}

variable "labels" {
  description = "Labels of all that can carry them."
  type        = map(string)
  default     = {}
}
