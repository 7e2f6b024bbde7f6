//! Archives of images: what `docker save` writes, and OCI layouts, as a folder or a tar file, packed or not.
//!
//! Both come down to the same: named blobs, and documents that say which of them make an image.

mod docker;
mod folder;
mod oci;
mod tarball;
mod zstd;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::config::{Document, Platform};
use crate::digest::Hashing;
use crate::{Bounds, Digest, ImageError, Reference};

/// Most bytes of a document of an archive.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Most layers of an image: what an overlay can stack, and every builder's bound.
const MAX_LAYERS: usize = 127;
/// Most images of one archive.
const MAX_IMAGES: usize = 256;
/// How a packed file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A content within an archive.
pub(crate) struct Blob<'a> {
    pub(crate) reader: Box<dyn Read + 'a>,
    /// Bytes of it.
    pub(crate) length: u64,
}

/// Where blobs are read from, by their path within the archive.
trait Blobs {
    /// Opens one; `None` if there is none of this name.
    fn open(&self, name: &str) -> io::Result<Option<Blob<'_>>>;
}

/// An image that an archive holds.
pub(crate) struct Found {
    /// Names that the archive gives it.
    pub(crate) names: Vec<Reference>,
    /// Its identity.
    pub(crate) id: Digest,
    pub(crate) document: Document,
    /// Its layers, lowest first.
    pub(crate) layers: Vec<FoundLayer>,
}

/// A layer of an image in an archive.
#[derive(Debug, Clone)]
pub(crate) struct FoundLayer {
    /// Path within the archive.
    blob: String,
    /// Digest of the blob as it is stored, where the archive tells one.
    pub(crate) packed: Option<Digest>,
    /// Digest of the unpacked layer.
    pub(crate) diff_id: Digest,
}

/// An opened archive.
pub(crate) struct Archive {
    blobs: Box<dyn Blobs>,
}

impl Archive {
    /// Opens a file or folder. A file that is packed as a whole is unpacked into `scratch` first.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn open(path: &Path, scratch: &Path, bounds: Bounds) -> Result<Self, ImageError> {
        let meta = path.metadata().map_err(ImageError::at(path))?;
        let blobs: Box<dyn Blobs> = if meta.is_dir() {
            Box::new(folder::Folder::open(path).map_err(ImageError::at(path))?)
        } else {
            let file = File::open(path).map_err(ImageError::at(path))?;
            let file = if begins_with_gzip(&file) { unpacked(path, &file, scratch, bounds)? } else { file };
            let tarball = tarball::Tarball::index(file);
            Box::new(tarball.map_err(|error| refused(path)(format!("it is no tar archive: {error}")))?)
        };
        Ok(Self { blobs })
    }

    /// Every image in it that this machine can run.
    ///
    /// # Errors
    /// What is wrong with the archive; [`ImageError::Platform`] if it holds images for other machines only.
    pub(crate) fn images(&self, path: &Path) -> Result<Vec<Found>, ImageError> {
        let refused = refused(path);
        let blobs = self.blobs.as_ref();
        let found = match document(blobs, docker::MANIFEST).map_err(&refused)? {
            Some(manifest) => docker::images(blobs, &manifest),
            None => match document(blobs, oci::INDEX).map_err(&refused)? {
                Some(index) => oci::images(blobs, &index),
                None => {
                    Err(Refusal::Archive(format!("it holds neither {} nor {}", docker::MANIFEST, oci::INDEX)))
                }
            },
        };
        let found = found.map_err(|refusal| match refusal {
            Refusal::Archive(why) => refused(why),
            Refusal::Image(error) => error,
        })?;
        if found.is_empty() { Err(refused("it holds no image".to_owned())) } else { Ok(found) }
    }

    /// Opens a layer.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub(crate) fn layer(&self, path: &Path, layer: &FoundLayer) -> Result<Blob<'_>, ImageError> {
        let opened = self.blobs.open(&layer.blob).map_err(ImageError::at(path))?;
        opened.ok_or_else(|| refused(path)(format!("the layer {} is missing", layer.blob)))
    }
}

/// Why an archive's documents do not lead to images.
enum Refusal {
    Archive(String),
    Image(ImageError),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Archive(why)
    }
}

fn refused(path: &Path) -> impl Fn(String) -> ImageError {
    move |why| ImageError::NotAnImage { file: path.to_owned(), why }
}

fn begins_with_gzip(file: &File) -> bool {
    use std::os::unix::fs::FileExt;
    let mut start = [0; 2];
    file.read_exact_at(&mut start, 0).is_ok_and(|()| start == GZIP)
}

/// The content of a file that is packed as a whole, in a nameless file below `scratch`.
fn unpacked(path: &Path, file: &File, scratch: &Path, bounds: Bounds) -> Result<File, ImageError> {
    let mut plain = crate::store::space::nameless(scratch).map_err(ImageError::at(scratch))?;
    let mut reader = MultiGzDecoder::new(io::BufReader::new(file)).take(bounds.total);
    let mut space = crate::store::space::Space::new(scratch, bounds.reserve)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let count =
            reader.read(&mut buffer).map_err(|error| refused(path)(format!("it is damaged: {error}")))?;
        let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else { return Ok(plain) };
        space.spend(count as u64)?;
        io::Write::write_all(&mut plain, piece).map_err(|error| space.failed(scratch, error))?;
    }
}

/// A document of the archive; `None` if it is not there.
fn document(blobs: &dyn Blobs, name: &str) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: io::Error| format!("{name} cannot be read: {error}");
    let Some(blob) = blobs.open(name).map_err(failed)? else { return Ok(None) };
    if blob.length > MAX_DOCUMENT {
        return Err(format!("{name} has {} bytes, more than {MAX_DOCUMENT}", blob.length));
    }
    let mut bytes = Vec::new();
    blob.reader.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}

/// A document that must be there and have this digest.
fn verified(blobs: &dyn Blobs, name: &str, digest: &Digest) -> Result<Vec<u8>, Refusal> {
    let bytes = document(blobs, name)?.ok_or_else(|| format!("{name} is missing"))?;
    let found = Digest::of(&bytes);
    if found == *digest {
        Ok(bytes)
    } else {
        Err(Refusal::Image(ImageError::Digest { what: name.to_owned(), expected: digest.clone(), found }))
    }
}

/// Where layouts keep a blob.
fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Puts an image together from its configuration and the places of its layers.
fn assemble(
    names: Vec<Reference>,
    id: Digest,
    config: &[u8],
    layers: Vec<(String, Option<Digest>)>,
) -> Result<Found, Refusal> {
    let document = Document::read(config)?;
    let here = Platform::here();
    let platform = document.platform();
    if platform != here {
        let (image, machine) = (platform.to_string(), here.to_string());
        return Err(Refusal::Image(ImageError::Platform { image, machine }));
    }
    let diff_ids = document.layers();
    if diff_ids.len() != layers.len() {
        let (said, there) = (diff_ids.len(), layers.len());
        return Err(format!("its configuration speaks of {said} layers and {there} are there").into());
    }
    if layers.len() > MAX_LAYERS || layers.is_empty() {
        return Err(format!("it has {} layers; 1 to {MAX_LAYERS} can be stacked", layers.len()).into());
    }
    let layers = layers.into_iter().zip(diff_ids.iter().cloned());
    let layers = layers.map(|((blob, packed), diff_id)| FoundLayer { blob, packed, diff_id }).collect();
    Ok(Found { names, id, document, layers })
}

/// How a layer is stored, by how it begins.
pub(crate) fn decoder<'a, R: Read + 'a>(
    packed: &'a mut Hashing<R>,
) -> io::Result<Result<Box<dyn Read + 'a>, String>> {
    let mut start = Vec::new();
    packed.take(4).read_to_end(&mut start)?;
    let begin = |bytes: &[u8]| start.starts_with(bytes);
    let unknown = match () {
        () if begin(&GZIP) => {
            let whole = io::Cursor::new(start).chain(packed);
            return Ok(Ok(Box::new(MultiGzDecoder::new(io::BufReader::with_capacity(64 << 10, whole)))));
        }
        () if begin(&zstd::MAGIC) => {
            return Ok(Ok(Box::new(zstd::Frames::new(io::Cursor::new(start).chain(packed)))));
        }
        () if begin(b"BZh") => "bzip2",
        () if begin(&[0xfd, b'7', b'z', b'X']) => "xz",
        () => return Ok(Ok(Box::new(io::Cursor::new(start).chain(packed)))),
    };
    Ok(Err(format!(
        "it is packed with {unknown}; save the image with layers packed by gzip or zstd, or not at all"
    )))
}
