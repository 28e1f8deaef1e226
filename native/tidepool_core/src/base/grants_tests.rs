#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap fails the test")]

use super::*;
use Direction::{Connect, Listen};
use Protocol::{Http, Https, Tcp, Tls, Udp};

fn grants(text: &str) -> Grants {
    Grants::parse(text.split_whitespace()).unwrap()
}

fn allows(granted: &str, protocol: Protocol, direction: Direction, address: &str) -> bool {
    grants(granted).allow(Wanted::Address(protocol, direction, address.parse().unwrap()))
}

#[test]
fn nothing_is_granted_by_default_and_a_star_is_everything() {
    let address = "127.0.0.1:1".parse().unwrap();
    for wanted in [Wanted::Dns, Wanted::Name(Tls, "a.b", 1), Wanted::Address(Tcp, Connect, address)] {
        assert!(!Grants::default().allow(wanted));
        assert!(Grants::all().allow(wanted) && grants("*").allow(wanted));
    }
}

#[test]
fn an_address_is_granted_by_itself_its_network_and_a_star_for_its_direction_and_port_alone() {
    for (granted, right) in [
        ("tcp:connect:10.1.2.3:443", true),
        ("tcp:10.1.2.3:443", true),
        ("tcp:connect:10.0.0.0/8:*", true),
        ("tcp:connect:*:400-500", true),
        ("udp:*:443 tcp:connect:*:443", true),
        ("tcp:listen:10.1.2.3:443", false),
        ("udp:connect:10.1.2.3:443", false),
        ("tls:connect:10.1.2.3:443", false),
        ("tcp:connect:10.1.2.4:443", false),
        ("tcp:connect:10.2.0.0/16:443", false),
        ("tcp:connect:[::]:443", false),
        ("tcp:connect:*:444-500", false),
        ("dns", false),
    ] {
        assert_eq!(allows(granted, Tcp, Connect, "10.1.2.3:443"), right, "{granted}");
    }
    assert!(allows("tcp:connect:10.0.0.0/8:443", Tls, Connect, "10.1.2.3:443"), "it is TCP, too");
    assert!(allows("tcp:[fd00::/8]:*", Tcp, Connect, "[fd12::1]:5"));
    assert!(allows("tcp:127.0.0.1:*", Tcp, Connect, "[::ffff:127.0.0.1]:5"), "the same address, written otherwise");
    assert!(!allows("tcp:[::/0]:*", Tcp, Connect, "[::ffff:127.0.0.1]:5"));
    assert!(allows("tcp:0.0.0.0/0:*", Tcp, Connect, "9.9.9.9:5"));
}

#[test]
fn a_port_of_the_systems_choice_is_any_port() {
    assert!(allows("tcp:listen:127.0.0.1:*", Tcp, Listen, "127.0.0.1:0"));
    assert!(!allows("tcp:listen:127.0.0.1:1-65535", Tcp, Listen, "127.0.0.1:0"));
    assert!(allows("udp:connect:10.0.0.1:53", Udp, Listen, "0.0.0.0:0"), "who sends needs a socket");
    assert!(!allows("udp:connect:10.0.0.1:53", Udp, Listen, "0.0.0.0:53"));
    assert!(!allows("udp:listen:127.0.0.1:53", Udp, Listen, "127.0.0.1:0"));
}

#[test]
fn names_are_granted_for_tls_and_for_requests_and_a_star_before_one_is_what_is_under_it() {
    let allows = |granted: &str, name| grants(granted).allow(Wanted::Name(Tls, name, 443));
    assert!(allows("tls:connect:api.Example.com:443", "API.example.com"));
    assert!(allows("tls:connect:*.example.com:*", "a.b.example.com"));
    assert!(allows("tls:connect:*:443", "example.com"));
    for granted in
        ["tls:connect:*.example.com:443", "tls:connect:com:443", "tls:listen:*:443", "tcp:connect:*:443", "tls:*:444"]
    {
        assert!(!allows(granted, "example.com"), "{granted}");
    }
    assert!(!allows("tls:connect:*.example.com:443", "badexample.com"));
}

#[test]
fn a_scheme_grants_its_requests_and_no_socket() {
    for (granted, protocol, right) in [
        ("https:api.example.com:443", Https, true),
        ("https:*.Example.com:400-500", Https, true),
        ("https:*:443", Https, true),
        ("tls:connect:api.example.com:443", Https, true),
        ("tls:*:443", Https, true),
        ("http:api.example.com:443", Http, true),
        ("http:api.example.com:443", Https, false),
        ("https:api.example.com:443", Http, false),
        ("https:api.example.com:443", Tls, false),
        ("http:*:443", Tls, false),
        ("https:api.example.com:444", Https, false),
        ("https:example.com:443", Https, false),
        ("tls:connect:api.example.com:443", Http, false),
        ("tcp:*:443 dns", Http, false),
        ("tcp:*:443 dns", Https, false),
    ] {
        let wanted = Wanted::Name(protocol, "api.example.com", 443);
        assert_eq!(grants(granted).allow(wanted), right, "{granted} {protocol:?}");
    }
    for (granted, protocol, right) in [
        ("http:10.0.0.0/8:*", Http, true),
        ("http:*:80", Http, true),
        ("https:10.1.2.3:80", Https, true),
        ("tcp:connect:10.1.2.3:80", Http, true),
        ("tcp:10.1.2.3:80", Https, true),
        ("tls:connect:10.1.2.3:80", Https, true),
        ("tls:connect:10.1.2.3:80", Http, false),
        ("tcp:listen:10.1.2.3:80", Http, false),
        ("udp:*:80", Http, false),
        ("http:api.example.com:80", Http, false),
        ("http:10.1.2.3:80 https:10.1.2.3:80", Tcp, false),
        ("http:*:* https:*:*", Tls, false),
        ("http:*:* https:*:*", Udp, false),
    ] {
        assert_eq!(allows(granted, protocol, Connect, "10.1.2.3:80"), right, "{granted} {protocol:?}");
    }
    assert!(allows("http:[fd00::/8]:80", Http, Connect, "[fd12::1]:80"));
    let all = grants("http:*:* https:*:*");
    assert!(!all.allow(Wanted::Dns) && !allows("http:*:* https:*:*", Tcp, Listen, "127.0.0.1:80"));
}

#[test]
fn what_is_no_grant_is_refused() {
    for text in [
        "",
        "tcp",
        "tcp:*",
        "tcp:listen:*",
        "sctp:*:1",
        "tcp:*:0",
        "tcp:*:65536",
        "tcp:*:9-1",
        "tcp:*:+1",
        "tcp:*:",
        "tcp:::1:80",
        "tcp:[127.0.0.1]:80",
        "tcp:10.0.0.0/33:1",
        "tcp:[::/129]:1",
        "tcp:10.0.0:1",
        "tcp:a b:1",
        "tcp:connect:example.com:80",
        "tls:example.com:80",
        "tls:connect:*.:80",
        "tls:connect:*example.com:80",
        "DNS",
        "tcp:[::ffff:1.2.3.4]:1",
        "tls:connect:1.2.3:80",
        "http:api.example.com",
        "http://api.example.com:80",
        "https:connect:api.example.com:443",
        "https:listen:127.0.0.1:443",
        "https:[api.example.com]:443",
        "HTTPS:api.example.com:443",
        "ws:api.example.com:80",
    ] {
        assert!(Grants::parse([text]).is_err(), "{text}");
    }
    assert!(Grants::parse([format!("tls:connect:{}:1", "a.".repeat(200) + "b").as_str()]).is_err());
    assert!(Grants::parse(vec!["dns"; MAX_GRANTS + 1]).is_err());
}

#[test]
fn a_grant_is_beyond_others_unless_one_of_them_has_all_of_it() {
    let node = grants("tcp:connect:10.0.0.0/8:1-1000 tls:connect:*.example.com:443 dns");
    let inside = ["dns", "tcp:connect:10.1.0.0/16:80", "tls:connect:10.1.2.3:443", "tls:connect:a.example.com:443"];
    assert_eq!(node.first_beyond(inside), None);
    for text in [
        "*",
        "tcp:10.1.2.3:80",
        "tcp:connect:*:80",
        "tcp:connect:8.0.0.0/6:80",
        "tcp:connect:10.0.0.1:*",
        "tls:connect:example.com:443",
        "udp:*:1",
        "nonsense",
    ] {
        assert_eq!(node.first_beyond(["dns", text]), Some(text));
    }
    assert_eq!(Grants::all().first_beyond(["*", "udp:*:1"]), None);
}

#[test]
fn requests_are_within_what_grants_their_connections_and_a_name_is_within_no_address() {
    let node = grants("tcp:connect:*:80 tls:connect:*.example.com:443 https:api.example.org:443");
    let inside = ["http:10.0.0.0/8:80", "https:10.1.2.3:80", "https:a.example.com:443", "https:*.b.example.com:443"];
    assert_eq!(node.first_beyond(inside), None);
    assert_eq!(node.first_beyond(["https:api.example.org:443"]), None);
    for text in [
        "http:a.example.com:80",
        "http:*:80",
        "http:a.example.com:443",
        "https:*:443",
        "tls:connect:api.example.org:443",
        "tcp:connect:api.example.org:443",
    ] {
        assert_eq!(node.first_beyond([text]), Some(text));
    }
    let requests = grants("http:*:* https:*:*");
    assert_eq!(requests.first_beyond(["http:a.example.com:80", "https:*:443", "http:10.0.0.0/8:*"]), None);
    for text in ["tcp:connect:10.1.2.3:80", "tls:connect:a.example.com:443", "tls:connect:10.1.2.3:443", "dns", "*"] {
        assert_eq!(requests.first_beyond([text]), Some(text));
    }
}

#[test]
fn what_is_wanted_shows_as_the_grant_that_is_enough() {
    for text in ["tcp:connect:10.0.0.1:80", "tls:listen:[::1]:443", "udp:listen:127.0.0.1:*"] {
        let address = text.replace('*', "0");
        let (_, rest) = address.split_once(':').unwrap();
        let (_, address) = rest.split_once(':').unwrap();
        let protocol = [Tcp, Tls, Udp][["tcp", "tls", "udp"].iter().position(|it| text.starts_with(it)).unwrap()];
        let direction = if text.contains("listen") { Listen } else { Connect };
        let wanted = Wanted::Address(protocol, direction, address.parse().unwrap());
        assert_eq!(wanted.to_string(), text);
        assert!(grants(text).allow(wanted));
    }
    assert_eq!(Wanted::Dns.to_string(), "dns");
    for (protocol, text) in [(Tls, "tls:connect:a.b:1"), (Http, "http:a.b:1"), (Https, "https:a.b:1")] {
        let wanted = Wanted::Name(protocol, "a.b", 1);
        assert_eq!(wanted.to_string(), text);
        assert!(grants(text).allow(wanted));
    }
    for (protocol, text) in [(Http, "http:10.0.0.1:80"), (Https, "https:10.0.0.1:80")] {
        let wanted = Wanted::Address(protocol, Connect, "10.0.0.1:80".parse().unwrap());
        assert_eq!(wanted.to_string(), text);
        assert!(grants(text).allow(wanted));
    }
}
