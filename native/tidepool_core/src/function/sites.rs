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

/// Routes by their host, in lower case. Those of any host have none.
type Hosts = HashMap<Box<str>, Routes, RandomState>;

/// Functions by their paths: however many there are, a request is looked up as often as its path has parts.
#[derive(Default)]
struct Routes {
    exact: HashMap<Box<str>, Box<str>, RandomState>,
    /// Of what is below these, and them.
    below: HashMap<Box<str>, Box<str>, RandomState>,
    /// Bytes of the longest of them.
    longest: usize,
}

impl Routes {
    fn add(&mut self, path: &str, function: &str) {
        let (paths, path) = match path.strip_suffix(BELOW) {
            Some(path) => (&mut self.below, path),
            None => (&mut self.exact, path),
        };
        paths.entry(path.into()).or_insert_with(|| function.into());
        self.longest = self.longest.max(path.len());
    }

    /// The function of the longest path that is this one, or that it is below.
    fn find(&self, path: &str) -> Option<&str> {
        let below = || {
            let parts = path.match_indices('/').map(|(at, _slash)| at).chain([path.len()]);
            let ends: Vec<_> = parts.take_while(|end| *end <= self.longest).collect();
            ends.into_iter().rev().find_map(|end| self.below.get(path.get(..end)?))
        };
        self.exact.get(path).or_else(below).map(|function| &**function)
    }
}

impl Sites {
    /// Replaces all routes: `shop.example/cart/...`, `/hook`, each with its function. Of two that are alike the first counts.
    pub fn set(&self, routes: impl IntoIterator<Item = (String, String)>) {
        let mut hosts = Hosts::default();
        for (route, function) in routes {
            let (host, path) = route.split_at(route.find('/').unwrap_or(route.len()));
            hosts.entry(host.to_ascii_lowercase().into()).or_default().add(path, &function);
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
        of_both.into_iter().find_map(|routes| routes.find(path)).map(Into::into)
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
            ("shop.example", "/cart/", "cart"),
            ("shop.example", "//", "shop"),
            ("else.example", "/", "rest"),
            ("else.example", "/hook/", "rest"),
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
