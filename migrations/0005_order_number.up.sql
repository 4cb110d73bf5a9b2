-- Orders get a number for people to read. The column is to be NOT NULL in a table that has rows and is in use,
-- so it comes in three migrations, none of which holds a strong lock for longer than a moment:
-- here the empty column, for all rows from now on; 0006 fills in the old rows; 0007 makes it NOT NULL.
ALTER TABLE purchase_order ADD COLUMN order_number text;

CREATE SEQUENCE purchase_order_number OWNED BY purchase_order.order_number;

-- A default of its own command counts for new rows only. In ADD COLUMN this one would rewrite the table.
ALTER TABLE purchase_order
  ALTER COLUMN order_number SET DEFAULT 'PO-' || lpad(nextval('purchase_order_number')::text, 8, '0');

-- NOT VALID: new rows are checked, the old ones are not looked at yet.
ALTER TABLE purchase_order
  ADD CONSTRAINT purchase_order_has_number CHECK (order_number IS NOT NULL) NOT VALID;

COMMENT ON COLUMN purchase_order.order_number IS 'What customers and the warehouse call the order';
