# A name of one's own, over Cloud Run's domain mapping: the simple way, in some regions only. Elsewhere put a load
# balancer in front and set public_url.
resource "google_cloud_run_domain_mapping" "gateway" {
  count = var.domain == null || var.image == null ? 0 : 1

  project  = var.project
  location = var.region
  name     = var.domain

  metadata {
    namespace = var.project
    labels    = var.labels
  }

  spec {
    route_name = google_cloud_run_v2_service.gateway[0].name
  }
}
