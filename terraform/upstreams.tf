# The services behind the gateway. Each lets the gateway's account in; bindings that others made stay as they are.

data "google_project" "upstream" {
  for_each = toset([
    for upstream in var.upstreams : upstream.project if upstream.project != null && upstream.project != var.project
  ])

  project_id = each.value
}

locals {
  project_numbers = merge(
    { (var.project) = data.google_project.gateway.number },
    { for id, project in data.google_project.upstream : id => project.number },
  )

  upstreams = {
    for name, upstream in var.upstreams : name => {
      service = upstream.service
      project = coalesce(upstream.project, var.project)
      region  = coalesce(upstream.region, var.region)
      url     = upstream.url
    }
  }

  upstream_urls = {
    for name, upstream in local.upstreams : name => coalesce(
      upstream.url,
      "https://${upstream.service}-${local.project_numbers[upstream.project]}.${upstream.region}.run.app",
    )
  }
}

resource "google_cloud_run_v2_service_iam_member" "upstream" {
  for_each = local.upstreams

  project  = each.value.project
  location = each.value.region
  name     = each.value.service
  role     = "roles/run.invoker"
  member   = google_service_account.gateway.member
}
