//! Tests of the key file.

use super::*;

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret").join("site.key");
    (folder, path)
}

#[test]
fn a_created_key_loads_as_the_same_site() {
    let (_folder, path) = place();
    let created = SiteKey::create(&path).unwrap();
    assert_eq!(SiteKey::load(&path).unwrap().site_id(), created.site_id());
}

#[test]
fn an_existing_key_is_never_overwritten() {
    let (_folder, path) = place();
    let first = SiteKey::create(&path).unwrap();
    assert!(matches!(SiteKey::create(&path), Err(CreateKeyError::Exists { .. })));
    assert_eq!(SiteKey::load(&path).unwrap().site_id(), first.site_id());
}

/// A kill while a key was written leaves a part of it beside its place.
#[test]
fn what_a_cut_attempt_left_is_in_nobodys_way() {
    let (_folder, path) = place();
    let draft = path.with_extension("draft");
    fs::create_dir_all(directory_of(&path)).unwrap();
    fs::set_permissions(directory_of(&path), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(&draft, [1; 7]).unwrap();
    let first = SiteKey::create(&path).unwrap();
    assert_eq!(SiteKey::load(&path).unwrap().site_id(), first.site_id());
    assert!(!draft.exists());
    fs::hard_link(&path, &draft).unwrap();
    first.followed_by(&[3; 32]).replace(&path).unwrap();
    assert!(!draft.exists(), "the older secret lies about");
}

#[test]
fn a_missing_and_a_cut_key_are_told_apart() {
    let (_folder, path) = place();
    assert!(matches!(SiteKey::load(&path), Err(LoadKeyError::Missing { .. })));
    SiteKey::create(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(31).unwrap();
    assert!(matches!(SiteKey::load(&path), Err(LoadKeyError::Damaged { .. })));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_could_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let (_folder, path) = place();
    SiteKey::create(&path).unwrap();
    let mode = |place: &Path, bits| fs::set_permissions(place, fs::Permissions::from_mode(bits)).unwrap();

    mode(&path, 0o640);
    assert!(matches!(SiteKey::load(&path), Err(LoadKeyError::Exposed { mode: 0o640, .. })));
    mode(&path, 0o600);
    mode(path.parent().unwrap(), 0o755);
    assert!(matches!(SiteKey::load(&path), Err(LoadKeyError::Exposed { mode: 0o755, .. })));
    assert!(matches!(
        SiteKey::create(&path.with_file_name("second.key")),
        Err(CreateKeyError::Exposed { mode: 0o755, .. })
    ));
}

#[test]
fn printing_a_key_shows_no_byte_of_the_seed() {
    let key = SiteKey::from_seed(&[0xab; 32]);
    assert_eq!(format!("{key:?}"), format!("SiteKey(of {})", key.site_id().short()));
}

#[test]
fn derived_keys_differ_by_purpose_and_not_by_life() {
    let key = SiteKey::from_seed(&[7; 32]);
    assert_eq!(key.derive("a"), SiteKey::from_seed(&[7; 32]).derive("a"));
    assert_ne!(key.derive("a"), key.derive("b"));
    assert_ne!(key.derive("a"), SiteKey::from_seed(&[8; 32]).derive("a"));
}
