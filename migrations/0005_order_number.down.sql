-- The sequence belongs to the column and the constraint is about it alone: both go with it.
ALTER TABLE purchase_order DROP COLUMN order_number;
