//! The kind router: which execution domain runs an action.

use std::sync::Arc;

use chasen_entity::Exec;
use chasen_spi::Invoker;

type Serves = Box<dyn Fn(&str, Option<&str>) -> bool + Send + Sync>;

/// Domains in order of preference; the first that serves an action's kind and image runs it.
#[derive(Default)]
pub struct KindRouter {
    routes: Vec<Route>,
}

struct Route {
    serves: Serves,
    domain: Arc<dyn Invoker>,
}

impl KindRouter {
    /// A router without domains.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a domain for the kinds and images of which `serves` is true.
    #[must_use]
    pub fn route(
        mut self,
        serves: impl Fn(&str, Option<&str>) -> bool + Send + Sync + 'static,
        domain: Arc<dyn Invoker>,
    ) -> Self {
        self.routes.push(Route { serves: Box::new(serves), domain });
        self
    }

    /// The domain that runs this, if there is one.
    #[must_use]
    pub fn domain(&self, exec: &Exec) -> Option<&Arc<dyn Invoker>> {
        let image = exec.image.as_deref();
        self.routes.iter().find(|route| (route.serves)(&exec.kind, image)).map(|route| &route.domain)
    }

    /// Closes every domain; one that is routed to twice is closed once more, which does nothing.
    pub(crate) async fn close(&self) {
        for route in &self.routes {
            route.domain.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NullDomain;

    #[test]
    fn the_first_domain_that_serves_runs_it() {
        let (null, other): (Arc<dyn Invoker>, Arc<dyn Invoker>) =
            (Arc::new(NullDomain::default()), Arc::new(NullDomain::default()));
        let router = KindRouter::new()
            .route(|kind, _| kind == "null", Arc::clone(&null))
            .route(|kind, image| kind == "blackbox" && image.is_some(), Arc::clone(&other));
        let exec = |kind: &str, image: Option<&str>| Exec {
            kind: kind.to_owned(),
            image: image.map(str::to_owned),
            ..Exec::default()
        };
        assert!(Arc::ptr_eq(router.domain(&exec("null", None)).unwrap(), &null));
        assert!(Arc::ptr_eq(router.domain(&exec("blackbox", Some("x"))).unwrap(), &other));
        assert!(router.domain(&exec("cobol:1", None)).is_none());
    }
}
