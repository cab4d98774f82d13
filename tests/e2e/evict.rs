//! Bytes that leave one site by command and come back for a package client.

use crate::http::request;
use crate::lab::{Site, bytes_of};

#[test]
fn an_evicted_version_is_told_and_a_package_client_gets_it_all_the_same() {
    let (la, ny) = (Site::new("Los Angeles"), Site::new("New York"));
    la.ok(&["feed", "create", "tools", "--kind", "raw"]);
    let content = bytes_of(3, 900_000);
    la.publish("tools", "big", &content);
    la.pair(&ny, "tools", "mirror");
    ny.sync();
    let evicted = ny.ok(&["evict", "tools", "big", "1.0"]);
    assert_eq!((&evicted["schema"], &evicted["blobs"]), (&"packetboat.evicted/1".into(), &1.into()));
    assert_eq!(evicted["held_by"][0], "Los Angeles", "{evicted}");
    assert_eq!(ny.sync()["content_in_bytes"], 0);
    assert_eq!(ny.ok(&["list", "tools"])["packages"][0]["state"], "evicted-here");
    let said = la.fails(1, &["evict", "tools", "big", "1.0"]);
    assert!(said.contains("last copy"), "{said}");

    let token = ny.ok(&["token", "create", "--feed", "tools", "--label", "ci"]);
    let token = token["token"].as_str().unwrap();
    let (status, head, body) = ny.http(&request("GET", "/feeds/tools/big/1.0/big.bin", token, "", 0), b"");
    assert_eq!((status, body == content), (200, true), "{head}");
    la.ok(&["evict", "tools", "big", "1.0"]);
    assert_eq!(la.ok(&["fetch", "tools", "big", "1.0"])["state"], "ready");
    la.ok(&["evict", "tools", "big", "1.0", "--force"]);
    la.fails(2, &["evict", "tools", "big"]);
    la.fails(1, &["fetch", "tools", "unknown", "1.0"]);
}
