"""What lives on a site, and how it transforms: field laws as data."""

from nearsight.fields.field_type import FieldType, check_field, scalar

__all__ = ["FieldType", "check_field", "scalar"]
