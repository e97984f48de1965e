//! Names of container images.

/// The tag in `registry:5000/shop/cart:1.4@sha256:...`: what people call the version.
pub(super) fn tag(image: &str) -> Option<&str> {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before the last slash is that of a port.
    let last = name.rsplit('/').next().unwrap_or(name);
    let (repository, tag) = last.split_once(':')?;
    // Without a name an image is called `sha256:<digest>`.
    (repository != "sha256" && !tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// References as engines write them.
    #[test]
    fn tags() {
        for (image, version) in [
            ("docker.io/library/nginx:1.25", Some("1.25")),
            ("nginx", None),
            ("registry:5000/nginx", None),
            ("registry:5000/shop/cart:v2", Some("v2")),
            ("cart:v2@sha256:0123", Some("v2")),
            ("cart@sha256:0123", None),
            ("sha256:0123456789abcdef", None),
            ("cart:", None),
            ("", None),
        ] {
            assert_eq!(tag(image), version, "{image}");
        }
    }
}
