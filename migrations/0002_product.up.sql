CREATE TABLE product (
  id         bigint         GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  sku        text           NOT NULL UNIQUE CHECK (sku ~ '^[A-Z0-9-]{3,32}$'),
  name       text           NOT NULL CHECK (btrim(name) <> ''),
  price      numeric(12, 2) NOT NULL CHECK (price >= 0),
  currency   text           NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  on_sale    boolean        NOT NULL DEFAULT true,
  created_at timestamptz    NOT NULL DEFAULT now()
);

-- For the shop's search box: finds a part of a name, and names with typing mistakes.
CREATE INDEX product_name_search ON product USING gin (name gin_trgm_ops);

-- For the shop's list of new products, which never shows one that is off sale.
CREATE INDEX product_newest_on_sale ON product (created_at DESC) WHERE on_sale;

COMMENT ON TABLE product IS 'What the shop sells, or has sold: a product that was ordered is never deleted';
COMMENT ON COLUMN product.sku IS 'Stock keeping unit: capitals, digits and hyphens';
COMMENT ON COLUMN product.currency IS 'ISO 4217 code of the price''s currency';
