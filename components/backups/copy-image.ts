/**
 * Image of the container that copies the backups off the host. Pinned, so that every environment copies with the same
 * rclone until this line changes.
 */
export const copyImage = "rclone/rclone:1.75.0";
