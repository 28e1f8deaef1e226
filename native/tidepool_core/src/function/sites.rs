//! Which function has which route: a host, or any, and a path, or all below it.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

/// What the path of a route ends with that has all below it.
const BELOW: &str = "/...";

/// Routes of functions. Readers take a snapshot without a lock.
#[derive(Default)]
pub struct Sites {
    hosts: ArcSwap<Hosts>,
}

/// Routes by their host, in lower case; the longest come first. Those of any host have none.
type Hosts = HashMap<Box<str>, Vec<Route>, RandomState>;

struct Route {
    path: Box<str>,
    has_below: bool,
    function: Box<str>,
}

impl Route {
    fn is_meant(&self, path: &str) -> bool {
        path.strip_prefix(&*self.path).is_some_and(|rest| rest.is_empty() || self.has_below && rest.starts_with('/'))
    }
}

impl Sites {
    /// Replaces all routes: `shop.example/cart/...`, `/hook`, each with its function. Of two that are alike the first counts.
    pub fn set(&self, routes: impl IntoIterator<Item = (String, String)>) {
        let mut hosts = Hosts::default();
        for (route, function) in routes {
            let (host, path) = route.split_at(route.find('/').unwrap_or(route.len()));
            let (path, has_below) = path.strip_suffix(BELOW).map_or((path, false), |path| (path, true));
            let route = Route { path: path.into(), has_below, function: function.into() };
            hosts.entry(host.to_ascii_lowercase().into()).or_default().push(route);
        }
        for routes in hosts.values_mut() {
            // At one length, the path itself comes before all below it.
            routes.sort_by_key(|route| (std::cmp::Reverse(route.path.len()), route.has_below));
        }
        self.hosts.store(hosts.into());
    }

    /// The function whose route is the longest of those that are meant by a host, without a port, and a path. Those of the host come
    /// before those of any.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<String> {
        let hosts = self.hosts.load();
        let lower = host.trim_end_matches('.').to_ascii_lowercase();
        let of_both = hosts.get(&*lower).into_iter().chain(hosts.get(""));
        let route = of_both.flatten().find(|route| route.is_meant(path));
        route.map(|route| route.function.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: &[(&str, &str)], host: &str, path: &str) -> Option<String> {
        let sites = Sites::default();
        sites.set(routes.iter().map(|&(route, function)| (route.to_owned(), function.to_owned())));
        sites.find(host, path)
    }

    #[test]
    fn the_longest_route_counts_and_a_hosts_before_any_hosts() {
        let routes = [
            ("/...", "rest"),
            ("/hook", "hook"),
            ("shop.example/...", "shop"),
            ("shop.example/cart/...", "cart"),
            ("shop.example/cart", "front"),
        ];
        let cases = [
            ("shop.example", "/", "shop"),
            ("SHOP.example.", "/cart/7", "cart"),
            ("shop.example", "/cart", "front"),
            ("shop.example", "/carts", "shop"),
            ("shop.example", "/hook", "shop"),
            ("else.example", "/hook", "hook"),
            ("else.example", "/hook/x", "rest"),
            ("shop.example.evil.example", "/cart", "rest"),
        ];
        for (host, path, function) in cases {
            assert_eq!(found(&routes, host, path).as_deref(), Some(function), "{host}{path}");
        }
        assert_eq!(found(&routes[1..2], "shop.example", "/cart"), None);
    }

    #[test]
    fn of_two_routes_that_are_alike_the_first_counts() {
        assert_eq!(found(&[("/a", "older"), ("/a", "newer")], "h", "/a").as_deref(), Some("older"));
    }
}
