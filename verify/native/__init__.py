"""The closed test for marks that engines embed themselves (`watermark.native`)."""
