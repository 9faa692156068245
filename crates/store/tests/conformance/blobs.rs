//! The suite for blobs.

use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_store::Blobs;

/// All that [`Blobs`] must do, on an empty one.
pub(crate) async fn suite(blobs: &impl Blobs) {
    let absent = Digest::of(b"absent");
    assert_eq!(blobs.get(absent).await.unwrap(), None);
    assert_eq!(blobs.path(absent).await.unwrap(), None);
    blobs.delete(absent).await.unwrap();
    assert!(blobs.list().await.unwrap().is_empty());

    let contents = [
        Bytes::new(),
        Bytes::from_static(b"one"),
        Bytes::from(vec![7; 3_000_000]),
    ];
    let mut names = Vec::new();
    for content in &contents {
        let name = blobs.put(content.clone()).await.unwrap();
        assert_eq!(name, Digest::of(content));
        assert_eq!(blobs.put(content.clone()).await.unwrap(), name);
        assert_eq!(blobs.get(name).await.unwrap().as_ref(), Some(content));
        let path = blobs.path(name).await.unwrap().expect("a file");
        assert_eq!(std::fs::read(path).unwrap(), content[..]);
        names.push(name);
    }
    names.sort();
    let mut listed = blobs.list().await.unwrap();
    listed.sort();
    assert_eq!(listed, names);

    blobs.delete(names[0]).await.unwrap();
    assert_eq!(blobs.get(names[0]).await.unwrap(), None);
    assert_eq!(blobs.list().await.unwrap().len(), 2);

    let same = (0..8).map(|_| blobs.put(Bytes::from_static(b"at the same time")));
    for stored in futures_util::future::join_all(same).await {
        let name = stored.unwrap();
        assert!(blobs.get(name).await.unwrap().is_some());
    }
}
